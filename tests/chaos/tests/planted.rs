//! Members with planted mistakes: the campaigns find every mistake within a few rounds, and find
//! nothing in members without one. A run takes every third mistake by default.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::any::Any;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use quorate_core::planted::Mistake;
use quorate_test_chaos::campaign::Campaign;
use quorate_test_chaos::fault::Fault as F;
use quorate_test_chaos::fault::environment::Environment;
use quorate_test_chaos::seed::{Seed, number_from_env};
use quorate_test_support::program;

/// The variable with the name of the only mistake to test, or [`NONE`] for the controls alone.
const ONLY: &str = "QUORATE_PLANTED_ONLY";
/// The variable with a number N: a run takes one in N mistakes and controls. 1 means all.
const SHARE: &str = "QUORATE_PLANTED_SHARE";
/// The share without the variable.
const SHARE_DEFAULT: u64 = 3;
/// The variable that chooses a mistake. Only a program that can make mistakes contains this text.
const SWITCH: &[u8] = b"QUORATE_PLANTED";
/// The name of the test of all mistakes.
const TEST: &str = "planted_mistakes_are_found_and_nothing_else";
/// The name of the controls, which have no mistake.
const NONE: &str = "none";
/// The most rounds until a mistake must be found.
const ROUNDS_MAX: usize = 30;
/// The faults for members without a mistake: those that reveal mistakes, except `UnreadWatches`.
const CONTROLS: [(Environment, &[F]); 5] = [
    (
        Environment::Processes,
        &[
            F::KillAll,
            F::StopLeader,
            F::KillLeader,
            F::KillTwice,
            F::KillFollower,
            F::KillCompacting,
            F::FallBehind,
            F::ReplaceMember,
        ],
    ),
    (
        Environment::Network,
        &[F::IsolateLeader, F::PauseLeader, F::FallBehindRunning, F::IsolateLeader],
    ),
    (Environment::Disks, &[F::CutPowerOfAll, F::CutPowerOfAll, F::SlowDisks, F::FillDisk]),
    (Environment::FiveMachines, &[F::Bridge]),
    (
        Environment::Overload,
        &[F::PauseWatches, F::BlockLogs, F::SilentConnections, F::CancelRanges, F::UnreadRanges],
    ),
];

/// How to find a mistake.
#[derive(Clone, Copy)]
struct Plan {
    environment: Environment,
    /// The faults, which are repeated in this order.
    faults: &'static [F],
    /// The texts that the campaign may fail with; any other failure is another mistake.
    signs: &'static [&'static str],
}

/// Signs that acknowledged writes are lost, or replaced by others. Later operations decide which
/// sign comes first. A member may also refuse to start because its own data are inconsistent, or to
/// follow a leader that contradicts committed entries.
const LOST: &[&str] = &[
    "BrokenEvents",
    "LostWrite",
    "MisplacedWrite",
    "MovedBack",
    "SharedRevision",
    "StaleRead",
    "WrongEffect",
    "it ends by itself as it starts",
    "it is not ready in",
    "the log has no holes",
    " applied after ",
];

/// Signs that a member has stopped accepting requests.
const EXHAUSTED: &[&str] = &[
    "no write by way of",
    "every member must answer",
    "traffic before the fault",
    "watches that catch up",
    "no end of events",
    "no leader",
    "a leader: not within",
    "too many requests",
    "in flight",
];

/// The plans for a mistake. Each of them must find it.
fn plans(mistake: Mistake) -> Vec<Plan> {
    let plan = plan(mistake);
    match mistake {
        // Clients read from an isolated leader during the fault, from a paused one afterwards.
        Mistake::UnconfirmedLeaderRead => {
            plan.faults.chunks(1).map(|faults| Plan { faults, ..plan }).collect()
        }
        _ => vec![plan],
    }
}

fn plan(mistake: Mistake) -> Plan {
    let (faults, signs): (&[F], &[&str]) = match mistake {
        Mistake::SkipSync => (&[F::CutPowerOfAll], LOST),
        Mistake::AcknowledgeBeforeWrite => (&[F::KillAll], LOST),
        // The elected leader lacks entries, or a term has two leaders.
        Mistake::GrantStaleVote => (&[F::KillTwice, F::KillAll], LOST),
        // Terms start again, and then perhaps no member can be elected. A build with assertions
        // may end when it finds a log of later terms.
        Mistake::LoseVote => (
            &[F::KillLeader, F::KillAll],
            &["a term moved back", "MovedBack", "it ends by itself as it starts"],
        ),
        Mistake::StaleReadAtFollower => (&[F::KillFollower], &["StaleRead"]),
        Mistake::UnconfirmedLeaderRead => (&[F::IsolateLeader, F::PauseLeader], &["StaleRead"]),
        Mistake::DropEvent | Mistake::RepeatEvent | Mistake::WrongPrevious => {
            (&[F::KillFollower], &["WrongWatch"])
        }
        // Entries that are applied twice take new revisions.
        Mistake::AppliedOutside => (&[F::StopLeader], LOST),
        Mistake::RandomApply => (&[F::KillFollower], &["BrokenEvents", "WrongAnswer", "WrongHash"]),
        Mistake::ReuseMemberId => (&[F::ReplaceMember], &["WrongIdentity"]),
        Mistake::LoseLeaseTime => (&[F::KillLeader], &["WrongLease"]),
        // The second application is refused, has another effect, or takes a revision that was not
        // acknowledged.
        Mistake::ProposeTwice => {
            (&[F::KillLeader], &["NeverRequested", "MisplacedWrite", "WrongRefusal"])
        }
        Mistake::CompactTooMuch => {
            (&[F::KillCompacting, F::StopLeader], &["BrokenEvents", "WrongAnswer", "WrongHash"])
        }
        Mistake::LoseWakeUp => (&[F::PauseWatches], &["watches that catch up", "no end of events"]),
        Mistake::BlockOnLog => (&[F::BlockLogs], &["no write by way of", "does not end"]),
        // Either memory or threads may run out first.
        Mistake::ReadAtOnce => (&[F::UnreadWatches], &["takes too much", "no write by way of"]),
        Mistake::ForgetBudget => (&[F::UnreadRanges], &["takes too much"]),
        Mistake::LeakBudget => (&[F::UnreadRanges], EXHAUSTED),
        Mistake::IgnoreRoom => (&[F::FillDisk], &["the alarm of a full disk"]),
        Mistake::KeepLog => (&[F::SilentConnections], &["takes too much"]),
        Mistake::WorkAfterCancel => (&[F::CancelRanges], &["in flight", "must answer"]),
        Mistake::KeepView => (&[F::UnreadRanges], &["keeps deleted files"]),
        Mistake::BeatAlone => (&[F::Bridge], &["another leader: not within"]),
        Mistake::HideGap => (&[F::FallBehindRunning], &["WrongWatch", "watches that catch up"]),
        // The missing rows are absent from events and responses, however long a client waits;
        // commands on them have another effect; and a member that finds a gap in its history ends
        // itself.
        Mistake::IncompleteSnapshot => (
            &[F::FallBehind],
            &[
                "BrokenEvents",
                "MisplacedWrite",
                "SharedRevision",
                "WrongAnswer",
                "WrongEffect",
                "WrongHash",
                "history has no version at",
                "watches that catch up",
            ],
        ),
    };
    Plan { environment: environment(mistake), faults, signs }
}

/// Where the faults that reveal a mistake happen.
fn environment(mistake: Mistake) -> Environment {
    match mistake {
        Mistake::SkipSync | Mistake::IgnoreRoom => Environment::Disks,
        Mistake::BeatAlone => Environment::FiveMachines,
        Mistake::LoseWakeUp
        | Mistake::BlockOnLog
        | Mistake::ReadAtOnce
        | Mistake::ForgetBudget
        | Mistake::LeakBudget
        | Mistake::KeepLog
        | Mistake::WorkAfterCancel
        | Mistake::KeepView => Environment::Overload,
        Mistake::UnconfirmedLeaderRead | Mistake::HideGap => Environment::Network,
        _ => Environment::Processes,
    }
}

/// A script that runs the planted program with a mistake, or without one.
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
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// Runs a campaign against members with a mistake. Returns the sign that revealed it, or `None`.
///
/// # Errors
/// A failure of the campaign that is not among the signs.
fn find(
    mistake: Mistake,
    Plan { environment, faults, signs }: Plan,
    folder: &Path,
) -> Result<Option<String>, String> {
    let seed = Seed::choose();
    eprintln!("again: {}", seed.replay(["planted", TEST], ONLY, mistake.name()));
    let program = planted(folder, Some(mistake));
    let started = Instant::now();
    let mut campaign = None;
    let faults = faults.iter().copied().cycle().take(ROUNDS_MAX);
    let played = catch_unwind(AssertUnwindSafe(|| {
        campaign.insert(Campaign::new(&program, environment, seed)).run(faults);
    }));
    let rounds = campaign.map_or(0, |campaign| campaign.effects().total().injected);
    let Err(panic) = played else { return Ok(None) };
    let said = message(&*panic);
    let first = said.lines().next().unwrap_or_default();
    let name = mistake.name();
    let seconds = started.elapsed().as_secs_f64();
    match signs.iter().find(|sign| said.contains(*sign)) {
        Some(sign) => {
            let rounds = rounds + 1;
            Ok(Some(format!("{name}: {sign} after {rounds} rounds, {seconds:.1} s: {first:.160}")))
        }
        None => Err(format!("{name}: ended by something else: {said}")),
    }
}

/// The mistakes and controls of a run.
struct Choice {
    only: Option<String>,
    step: usize,
    first: usize,
}

impl Choice {
    fn from_env() -> Self {
        let only = env::var(ONLY).ok();
        let share = number_from_env(SHARE).unwrap_or(SHARE_DEFAULT);
        let share = if only.is_some() { 1 } else { share };
        let step = usize::try_from(share).unwrap().max(1);
        Self { only, step, first: rand::random_range(0..step) }
    }

    fn contains(&self, place: usize, name: &str) -> bool {
        place % self.step == self.first && self.only.as_ref().is_none_or(|only| only == name)
    }
}

// This is a single test: with two, one thread could start a program while another writes one.
#[test]
fn planted_mistakes_are_found_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut failed = Vec::new();
    let choice = Choice::from_env();
    for (place, mistake) in Mistake::ALL.into_iter().enumerate() {
        if !choice.contains(place, mistake.name()) {
            continue;
        }
        for plan in plans(mistake) {
            if !plan.environment.is_possible(mistake.name()) {
                continue;
            }
            // The machine or chance may have hidden the mistake: try once more.
            let found = match find(mistake, plan, folder.path()) {
                Ok(Some(found)) => Ok(Some(found)),
                missed => {
                    eprintln!("{}: once more: {missed:?}", mistake.name());
                    find(mistake, plan, folder.path())
                }
            };
            match found {
                Ok(Some(found)) => eprintln!("{found}"),
                Ok(None) => failed.push(format!("{}: not caught", mistake.name())),
                Err(reason) => failed.push(reason),
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    for (place, (environment, faults)) in CONTROLS.into_iter().enumerate() {
        if choice.contains(place, NONE) && environment.is_possible(NONE) {
            let program = planted(folder.path(), None);
            let seed = Seed::choose();
            eprintln!("again: {}", seed.replay(["planted", TEST], ONLY, NONE));
            let mut campaign = Campaign::new(&program, environment, seed);
            campaign.run(faults.iter().copied());
            eprintln!("{NONE}, {environment:?}: {}", campaign.tally());
        }
    }
}

#[test]
fn the_release_program_contains_no_planted_mistakes() {
    let has_the_switch = |program: PathBuf| {
        let program = fs::read(program).unwrap();
        program.windows(SWITCH.len()).any(|part| part == SWITCH)
    };
    assert!(!has_the_switch(program::quorate()));
    assert!(has_the_switch(program::planted()));
}
