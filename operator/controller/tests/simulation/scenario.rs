//! The events in the life of a cluster, and the states that must follow.
//!
//! Each golden script of the plan (`operator/controller/scripts`) has its scenarios here.

mod failures;
mod outages;
mod sizes;
mod state;
mod stops;
mod strangers;
mod updates;

use serde_json::{Value, json};

use crate::world::World;

/// The events in the life of a cluster, in phases.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The spec of the cluster at first.
    pub(crate) spec: Value,
    pub(crate) phases: Vec<Phase>,
}

/// An event in the life of a cluster, and the state that must follow.
#[derive(Clone, Copy)]
pub(crate) struct Phase {
    pub(crate) act: fn(&mut World),
    /// The part that is still missing, for a person. When nothing is missing, the phase is over.
    pub(crate) lacks: fn(&World) -> Option<String>,
    /// Whether the cluster must also come to rest. Otherwise the next phase meets it in a change.
    pub(crate) rests: bool,
}

/// All scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    let parts = [
        sizes::all(),
        failures::all(),
        outages::all(),
        updates::all(),
        stops::all(),
        strangers::all(),
    ];
    parts.into_iter().flatten().collect()
}

/// A scenario that begins with a running cluster of one member, or of three.
fn scenario<const N: usize>(name: &'static str, members: i32, phases: [Phase; N]) -> Scenario {
    let first = match members {
        1 => rest(nothing, |world| state::running(world, 1)),
        _ => rest(nothing, |world| state::running(world, 3)),
    };
    let phases = [&[first], &phases[..]].concat();
    Scenario { name, spec: json!({ "members": members }), phases }
}

/// A phase after which the cluster is at rest.
fn rest(act: fn(&mut World), lacks: fn(&World) -> Option<String>) -> Phase {
    Phase { act, lacks, rests: true }
}

/// A phase that is over at the first moment at which nothing is missing.
fn until(act: fn(&mut World), lacks: fn(&World) -> Option<String>) -> Phase {
    Phase { act, lacks, rests: false }
}

fn nothing(_: &mut World) {}
