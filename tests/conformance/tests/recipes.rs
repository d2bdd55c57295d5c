//! The recipes of etcd's Go client keep their promises: on one member, and on three whose leader is
//! killed repeatedly. The program in `tests/conformance/recipes` runs and checks them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use quorate_test_support::wait;

/// Number of recipes.
const RECIPES: usize = 13;
/// How long the recipes run on one member, and on three. `QUORATE_RECIPES_SECONDS` replaces both.
const SECONDS: [u32; 2] = [2, 8];
/// Interval of the kills.
const KILLED_EVERY: Duration = Duration::from_secs(3);

/// Starts the program; `None`, reported as a skip, if it cannot be built here.
fn start(urls: &[String], seconds: u32) -> Option<Child> {
    let needs = [Need::Program("go"), Need::Program("bash")];
    if !require::met("the recipes of the Go client", &needs) {
        return None;
    }
    program::run_script("tests/conformance/recipes/build.sh", &[]);
    let seconds = std::env::var("QUORATE_RECIPES_SECONDS").map_or(seconds, |s| s.parse().unwrap());
    let mut command = Command::new(program::cache().join("bin/recipes"));
    command.args(["-endpoints", &urls.join(","), "-for", &format!("{seconds}s")]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    Some(child.expect("it was built"))
}

/// Checks the outcome of the program.
fn passes(child: Child) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{}:\n{text}", output.status);
    let ended = text.lines().filter(|line| line.contains(" rounds, ")).count();
    assert_eq!(ended, RECIPES, "{text}");
}

#[test]
fn recipes_keep_their_promises_on_one_member() {
    let mut server = Server::start_new(&program::quorate(), &[]);
    let Some(child) = start(&[server.url()], SECONDS[0]) else { return };
    passes(child);
    assert_eq!(server.exit_status(), None, "{}", server.log_tail());
}

#[test]
fn recipes_keep_their_promises_while_leaders_are_killed() {
    let mut cluster = Cluster::start_new_in_turn(&program::quorate(), 3, &[]);
    let urls: Vec<String> = cluster.members.iter().map(Server::url).collect();
    let Some(mut child) = start(&urls, SECONDS[1]) else { return };
    let mut kills = 0;
    loop {
        let ended = wait::within(KILLED_EVERY, || child.try_wait().unwrap());
        if ended.is_some() {
            break;
        }
        let (leader, _) = cluster.leader();
        cluster.members[leader].kill();
        kills += 1;
        // The others elect a leader before this one returns.
        cluster.leader();
        cluster.members[leader].start();
    }
    passes(child);
    assert!(kills > 0, "no leader was killed");
    for member in &cluster.members {
        assert_eq!(member.panic_line(), None, "{} has panicked", member.url());
    }
}
