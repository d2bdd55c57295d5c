//! Members that make mistakes on purpose: the campaigns find every one of them, each within a few
//! rounds, and find nothing where there is none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::any::Any;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use quorate_core::planted::Mistake;
use quorate_test_chaos::campaign::cluster::ClusterCampaign;
use quorate_test_chaos::fault::cluster::{ClusterFault as F, Ground};
use quorate_test_chaos::fault::disk;
use quorate_test_chaos::seed::Seed;
use quorate_test_support::net::Net;
use quorate_test_support::{program, require};

/// The only mistake there is to be, by its name; all of them, and none, when it is not set.
const ONLY: &str = "QUORATE_PLANTED_ONLY";
/// The only test there is.
const TEST: &str = "mistakes_are_caught_and_nothing_else";
/// The name of no mistake.
const NONE: &str = "none";
/// Rounds in which a mistake must be found.
const ROUNDS_MAX: usize = 12;
/// What befalls members that make no mistake.
const CONTROL: [F; 7] = [
    F::KillAll,
    F::StopLeader,
    F::KillLeader,
    F::KillCompacting,
    F::Outdate,
    F::PauseLeader,
    F::Replace,
];

/// How a mistake is found.
struct Plan {
    ground: Ground,
    /// Faults, one after the other, and from the first again.
    faults: &'static [F],
    /// What the campaign ends with, one of these: anything else is another mistake.
    signs: &'static [&'static str],
}

/// What shows that the state is not what was written, or not the same everywhere. Where nothing but
/// reads or watches is wrong, no more than that may be seen.
const WRONG_STATE: &[&str] = &[
    "BrokenEvents",
    "LostWrite",
    "MisplacedWrite",
    "MovedBack",
    "NeverRequested",
    "SharedRevision",
    "StaleRead",
    "WriteOutOfOrder",
    "WrongAnswer",
    "WrongEffect",
    "WrongHash",
    "WrongLease",
    "WrongWatch",
    // A member that has stopped, or is stuck, for what it has does not fit together.
    "every member must answer",
    "it does not start any more",
    "it ended by itself",
    "watches that catch up",
];

/// What shows that something was done that was done before.
const TWICE: &[&str] =
    &["for the second time", "MisplacedWrite", "WrongEffect", "WrongLease", "WrongRefusal"];

fn plan(mistake: Mistake) -> Plan {
    let (faults, signs): (&[F], &[&str]) = match mistake {
        Mistake::SkipSync => (&[F::CutPowerOfAll], WRONG_STATE),
        Mistake::AcknowledgeBeforeWrite => (&[F::KillAll], WRONG_STATE),
        Mistake::LoseVote => (&[F::KillLeader, F::KillAll], WRONG_STATE),
        Mistake::StaleReadAtFollower => (&[F::KillOther], &["StaleRead"]),
        Mistake::UnconfirmedLeaderRead => (&[F::IsolateLeader, F::PauseLeader], &["StaleRead"]),
        Mistake::DropEvent | Mistake::RepeatEvent | Mistake::WrongPrevious => {
            (&[F::KillOther], &["WrongWatch"])
        }
        Mistake::AppliedOutside => (&[F::StopLeader], WRONG_STATE),
        Mistake::RandomApply => (&[F::KillOther], WRONG_STATE),
        Mistake::ReuseMemberId => (&[F::Replace], &["WrongIdentity"]),
        Mistake::LoseLeaseTime => (&[F::KillLeader], &["WrongLease"]),
        Mistake::ProposeTwice => (&[F::KillLeader], TWICE),
        Mistake::CompactTooMuch => (&[F::KillCompacting, F::StopLeader], WRONG_STATE),
        Mistake::IncompleteSnapshot => (&[F::Outdate], WRONG_STATE),
    };
    let ground = match mistake {
        Mistake::SkipSync => Ground::Disks,
        Mistake::UnconfirmedLeaderRead => Ground::Network,
        _ => Ground::Processes,
    };
    Plan { ground, faults, signs }
}

/// Whether the machine has what a ground needs; otherwise says that it is skipped.
fn is_possible(ground: Ground, mistake: Mistake) -> bool {
    match ground {
        Ground::Disks => require::met(mistake.name(), &disk::NEEDS),
        Ground::Network => Net::can_be_made(mistake.name()),
        Ground::Processes | Ground::Proxies | Ground::Clocks => true,
    }
}

/// The planted program with a mistake, or with none.
fn planted(folder: &Path, mistake: Option<Mistake>) -> PathBuf {
    let path = folder.join(mistake.map_or(NONE, Mistake::name));
    let set = mistake.map(|mistake| format!("export QUORATE_PLANTED={}\n", mistake.name()));
    let program = program::planted();
    let text =
        format!("#!/bin/sh\n{}exec '{}' \"$@\"\n", set.unwrap_or_default(), program.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it says nothing")
}

/// Lets members make a mistake. How it was found, if it was; an error when the campaign ended by
/// something that it does not explain.
fn find(mistake: Mistake, folder: &Path) -> Result<Option<String>, String> {
    let Plan { ground, faults, signs } = plan(mistake);
    let seed = Seed::choose();
    eprintln!("again: {}", seed.replay(["planted", TEST], ONLY, mistake.name()));
    let program = planted(folder, Some(mistake));
    let started = Instant::now();
    let mut campaign = None;
    let faults = faults.iter().copied().cycle().take(ROUNDS_MAX);
    let played = catch_unwind(AssertUnwindSafe(|| {
        campaign.insert(ClusterCampaign::new(&program, ground, seed)).run(faults);
    }));
    let rounds = campaign.map_or(0, |campaign| campaign.effects().total().struck);
    let Err(panic) = played else { return Ok(None) };
    let said = message(&*panic);
    let first = said.lines().next().unwrap_or_default();
    let (name, seconds) = (mistake.name(), started.elapsed().as_secs_f64());
    match signs.iter().any(|sign| said.contains(sign)) {
        true => {
            let rounds = rounds + 1;
            Ok(Some(format!("{name}: caught after {rounds} rounds, {seconds:.1} s: {first:.160}")))
        }
        false => Err(format!("{name}: ended by something else: {said}")),
    }
}

fn is_chosen(name: &str) -> bool {
    env::var(ONLY).map_or(true, |only| only == name)
}

// One test, so that no program is started while another one is written.
#[test]
fn mistakes_are_caught_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    for mistake in Mistake::ALL.into_iter().filter(|mistake| is_chosen(mistake.name())) {
        if !is_possible(plan(mistake).ground, mistake) {
            continue;
        }
        // The machine may have been in the way: then once more.
        let found = find(mistake, folder.path()).or_else(|reason| {
            eprintln!("{reason}");
            find(mistake, folder.path())
        });
        match found {
            Ok(Some(found)) => eprintln!("{found}"),
            Ok(None) => failed.push(format!("{}: not caught", mistake.name())),
            Err(reason) => failed.push(reason),
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    if is_chosen(NONE) {
        let program = planted(folder.path(), None);
        let seed = Seed::choose();
        eprintln!("again: {}", seed.replay(["planted", TEST], ONLY, NONE));
        let mut campaign = ClusterCampaign::new(&program, Ground::Processes, seed);
        campaign.run(CONTROL.into_iter());
        eprintln!("{NONE}: {}", campaign.tally());
    }
}
