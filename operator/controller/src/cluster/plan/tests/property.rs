//! Random events in the world: no step breaks a rule, and once events stop, the cluster is as asked
//! for, if that is possible.

use jiff::SignedDuration;
use proptest::prelude::*;
use quorate_crd::v1alpha1::Phase;

use super::late::Late;
use super::run::Run;
use super::world::{Event, World};
use crate::cluster::observed::Volume;
use crate::cluster::plan::view::View;
use crate::cluster::step::Step;

fn event() -> impl Strategy<Value = Event> {
    let place = 0..7_usize;
    prop_oneof![
        4 => prop_oneof![Just(1), Just(3), Just(5), Just(7)].prop_map(Event::Members),
        3 => any::<u8>().prop_map(Event::Settings),
        1 => Just(Event::BadSettings),
        2 => prop_oneof![Just("0.1.0"), Just("0.1.3"), Just("0.2.0"), Just("0.3.0")]
            .prop_map(Event::Version),
        1 => any::<bool>().prop_map(Event::Hibernated),
        1 => any::<bool>().prop_map(Event::Paused),
        1 => (10..20_u8).prop_map(Event::Volume),
        3 => place.clone().prop_map(Event::DeletePod),
        3 => place.clone().prop_map(Event::Evict),
        3 => place.clone().prop_map(Event::Freeze),
        3 => Just(Event::Thaw),
        2 => place.clone().prop_map(Event::LoseVolume),
        1 => place.clone().prop_map(Event::DeleteVolume),
        2 => place.clone().prop_map(Event::LoseNode),
        2 => place.clone().prop_map(Event::Damage),
        1 => place.clone().prop_map(Event::Stick),
        1 => place.clone().prop_map(Event::Forget),
        1 => place.prop_map(Event::Expel),
        1 => Just(Event::Foreign),
        1 => Just(Event::Clean),
        1 => Just(Event::LoseStatus),
        1 => Just(Event::LoseBudget),
        1 => Just(Event::LoseAuthority),
        1 => Just(Event::RestoreAuthority),
        1 => (0..3_usize).prop_map(Event::Refuse),
        1 => Just(Event::Admit),
        1 => any::<u8>().prop_map(Event::Absence),
    ]
}

/// An event after some rounds, and perhaps a late round, which began before the event.
fn happening() -> impl Strategy<Value = (Event, u32, Option<Late>)> {
    let late = prop_oneof![(0..8_u8).prop_map(Late::Arrives), Just(Late::Asks)];
    let late = prop::option::weighted(0.2, late);
    (event(), 0..40_u32, late)
}

/// Whether the store can serve again: a majority of its voters has its data. Without a store: the
/// first member has a disk.
fn can_serve(world: &World) -> bool {
    let has_disk = |name: &str| {
        world.bodies.get(name).is_some_and(|body| {
            let is_node_lost = body.member.pod.as_ref().is_some_and(|pod| pod.is_node_lost);
            let volume = body.member.volume.as_ref();
            let is_readable = !is_node_lost && !body.is_damaged;
            let is_usable =
                |volume: &Volume| !volume.is_lost && !volume.is_kept && !volume.is_deleted;
            is_readable && volume.is_some_and(is_usable)
        })
    };
    // The version that ran before is not known, and the version asked for is refused.
    let is_unknown = world.bodies.values().any(|body| body.member.version.is_empty());
    if world.valid().is_too_new() && (is_unknown || !world.forgotten.is_empty()) {
        return false;
    }
    let voters = world.voters();
    if voters.is_empty() {
        // Whether a volume without a record has data is not known, and so nothing is founded.
        let is_known = world.forgotten.is_empty() && !world.valid().is_too_new();
        return is_known && world.bodies.keys().all(|name| has_disk(name));
    }
    let has_data = |name: &str| has_disk(name) && world.bodies[name].data.is_some();
    voters.iter().filter(|(name, _)| has_data(name)).count() > voters.len() / 2
}

/// The first part that is not as the user asks for.
fn lacks(run: &mut Run) -> Result<Option<String>, String> {
    let world = &run.world;
    let (valid, observed) = (world.valid(), world.observed());
    let view = View::new(&valid, &observed, world.now);
    let is_stale = view.members.iter().any(|seen| view.is_stale(seen));
    let voters = world.voters();
    let last = run.log.last().cloned().unwrap_or_default();
    if voters.len() != valid.members || voters.iter().any(|(_, is_alive)| !is_alive) {
        return Ok(Some(format!("voters: {voters:?}, and {last}")));
    }
    if is_stale || view.members.len() != valid.members || observed.status.change.is_some() {
        return Ok(Some(format!("{:?}, and {last}", observed.status.change)));
    }
    // Nothing is written while nothing happens.
    let before = world.status.clone();
    let plan = world.plan();
    run.world.tick();
    run.world.write_status(&plan);
    let is_idle = matches!(plan.step, Step::Wait { .. }) && before == run.world.status;
    let wanted = if view.refused_version().is_some() { Phase::Degraded } else { Phase::Ready };
    if before.phase != wanted {
        return Ok(Some(format!("{:?} although all is done", before.phase)));
    }
    Ok((!is_idle).then(|| format!("{} although all is done", plan.step)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_step_breaks_a_rule_and_all_ends_well(
        members in prop_oneof![Just(1), Just(3), Just(5)],
        events in prop::collection::vec(happening(), 0..12),
    ) {
        let mut run = Run::new(members);
        let mut live = || -> Result<Option<String>, String> {
            for (event, rounds, late) in &events {
                for _ in 0..*rounds {
                    run.round()?;
                }
                run.log.push(format!("-- {event:?}"));
                match late {
                    Some(late) => run.late(event, *late)?,
                    None => run.world.happen(event),
                }
            }
            let mends = [
                Event::Thaw,
                Event::RestoreAuthority,
                Event::Admit,
                Event::Clean,
                Event::Settings(255),
                Event::Hibernated(false),
                Event::Paused(false),
            ];
            for event in &mends {
                run.world.happen(event);
            }
            run.log.push("-- events end".to_owned());
            if !can_serve(&run.world) {
                run.pass(SignedDuration::from_mins(30))?;
                return Ok(None);
            }
            run.pass(SignedDuration::from_hours(3))?;
            lacks(&mut run)
        };
        let outcome = live();
        prop_assert_eq!(outcome, Ok(None), "{}", run.log.join("\n"));
    }
}
