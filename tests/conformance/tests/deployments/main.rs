//! The settings of real deployments: Quorate starts with them, and answers the deployment's probes.
//!
//! Paths and ports are replaced, and clusters have one member.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deployment;
mod file;
mod run;
mod table;
mod tools;
mod users;

use std::path::Path;
use std::thread;

use quorate_test_support::certs::Pki;
use quorate_test_support::program;
use tempfile::TempDir;

use deployment::Deployment;

/// How many deployments run at once.
const AT_ONCE: usize = 4;

/// Runs each deployment with a program, and asks its probes.
fn run_all(program: &Path, deployments: &[&Deployment]) {
    let home = TempDir::new().unwrap();
    let pki = Pki::new(&home.path().join("pki"));
    thread::scope(|scope| {
        for some in deployments.chunks(deployments.len().div_ceil(AT_ONCE)) {
            let (home, pki) = (home.path(), &pki);
            scope.spawn(move || some.iter().for_each(|one| run::check(program, home, pki, one)));
        }
    });
}

#[test]
fn every_deployment_starts_and_answers_its_probes() {
    let all: Vec<&Deployment> = table::all().collect();
    run_all(&program::quorate(), &all);
}

/// The table is right: etcd 3.7 starts with the deployments that the table marks as for etcd 3.7.
#[test]
fn etcd_starts_with_the_same_settings() {
    let Some(etcd) = program::etcd("deployments of etcd", "etcd-3.7") else { return };
    let of_etcd: Vec<&Deployment> = table::all().filter(|one| one.is_for_3_7).collect();
    run_all(&etcd, &of_etcd);
}
