//! Golden scripts: the events, and each step that the operator takes.
//!
//! `UPDATE_GOLDENFILES=1` writes the steps into the scripts.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use goldenscript::{Command, Context, Runner};
use jiff::SignedDuration;
use quorate_crd::v1alpha1::OnDelete;

use super::late::Late;
use super::run::Run;
use super::world::{Event, World};

/// Runs one script.
struct Script(Run);

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let run = &mut self.0;
        run.log.clear();
        let mut args = command.consume_args();
        match command.name.as_str() {
            "new" => *run = Run::new(args.take_key("members").unwrap_or("3").parse()?),
            // A cluster that is there already, without the steps that made it.
            "create" => {
                *run = Run::new(args.take_key("members").unwrap_or("3").parse()?);
                run.settle()?;
                run.log.clear();
            }
            "rounds" => {
                for _ in 0..args.next_pos().ok_or("how many rounds?")?.parse()? {
                    run.round()?;
                }
            }
            "run" => run.settle()?,
            "pass" => {
                let minutes = args.next_pos().ok_or("how many minutes?")?.parse()?;
                run.pass(SignedDuration::from_mins(minutes))?;
            }
            "status" => return Ok(status(&run.world)),
            "volumes" => return Ok(volumes(&run.world)),
            "operator" => {
                run.world.operator = match args.next_pos() {
                    Some("0.1.0") => "0.1.0",
                    Some("0.2.0") => "0.2.0",
                    _ => "0.3.0",
                };
            }
            "old-images" => run.world.program = Some("0.1.0"),
            "good-images" => run.world.program = None,
            "change-owners" => run.world.has_stale_owners = true,
            "on-delete" => run.world.cluster.spec.storage.on_delete = OnDelete::Delete,
            // The next step arrives only after the event, and after rounds of another operator.
            "late" => {
                let name = args.next_pos().ok_or("what happens?")?.to_owned();
                let event = event(&run.world, &name, args.next_pos())?;
                let rounds = args.take_key("rounds").unwrap_or("4").parse()?;
                run.late(&event, Late::Arrives(rounds))?;
            }
            name => {
                let event = event(&run.world, name, args.next_pos())?;
                run.world.happen(&event);
            }
        }
        args.reject_next()?;
        Ok(run.log.iter().map(|line| format!("{line}\n")).collect())
    }
}

fn event(world: &World, name: &str, about: Option<&str>) -> Result<Event, Box<dyn Error>> {
    let text = || about.ok_or("about what?");
    let place = || -> Result<usize, Box<dyn Error>> {
        let name = text()?;
        let found = (0..9).find(|at| world.member_at(*at).as_deref() == Some(name));
        Ok(found.ok_or("no such member")?)
    };
    Ok(match name {
        "members" => Event::Members(text()?.parse()?),
        "settings" => Event::Settings(text()?.parse()?),
        "bad-settings" => Event::BadSettings,
        "version" => match text()? {
            "0.1.1" => Event::Version("0.1.1"),
            "0.2.0" => Event::Version("0.2.0"),
            "0.3.0" => Event::Version("0.3.0"),
            _ => Event::Version("0.1.0"),
        },
        "hibernate" => Event::Hibernated(true),
        "wake" => Event::Hibernated(false),
        "pause" => Event::Paused(true),
        "resume" => Event::Paused(false),
        "volume" => Event::Volume(text()?.parse()?),
        "delete-pod" => Event::DeletePod(place()?),
        "freeze" => Event::Freeze(place()?),
        "thaw" => Event::Thaw,
        "lose-volume" => Event::LoseVolume(place()?),
        "delete-volume" => Event::DeleteVolume(place()?),
        "lose-node" => Event::LoseNode(place()?),
        "forget" => Event::Forget(place()?),
        "expel" => Event::Expel(place()?),
        "foreign" => Event::Foreign,
        "clean" => Event::Clean,
        "lose-status" => Event::LoseStatus,
        "lose-budget" => Event::LoseBudget,
        "lose-authority" => Event::LoseAuthority,
        "restore-authority" => Event::RestoreAuthority,
        "damage" => Event::Damage(place()?),
        "stick" => Event::Stick(place()?),
        "refuse-secrets" => Event::Refuse(0),
        "refuse-budget" => Event::Refuse(1),
        "refuse-objects" => Event::Refuse(2),
        "admit" => Event::Admit,
        "delete" => Event::Delete,
        other => return Err(format!("'{other}' is not understood").into()),
    })
}

/// The volumes, with those that are kept.
fn volumes(world: &World) -> String {
    let mut text = String::new();
    for (name, body) in &world.bodies {
        let Some(volume) = &body.member.volume else { continue };
        let kept = if volume.is_kept { ", kept" } else { "" };
        writeln!(text, "the volume of {name}{kept}").expect("a text takes all");
    }
    text
}

/// The status, without the conditions that are as they should be.
fn status(world: &World) -> String {
    let status = &world.status;
    let mut text = format!(
        "{:?}, ready {}, quorum {}, leader {}, version {}\n",
        status.phase, status.ready, status.quorum.text, status.leader, status.version
    );
    for condition in &status.conditions {
        if !["AsExpected", "QuorumHealthy"].contains(&condition.reason.as_str()) {
            let kind = (&condition.type_, &condition.status, &condition.reason);
            writeln!(text, "{}={} {}: {}", kind.0, kind.1, kind.2, condition.message)
                .expect("a text takes all");
        }
    }
    text
}

#[test]
fn the_plan_follows_the_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let entries = fs::read_dir(&folder).expect("the folder of the scripts");
    let mut scripts: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for script in scripts {
        let outcome = goldenscript::run(&mut Script(Run::new(3)), &script);
        outcome.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    }
}
