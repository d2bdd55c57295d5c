//! Other settings, versions, volumes, clients and certificates.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::state::{changing, every, gone, running, says, seen, serving, there};
use super::{Phase, Scenario, rest, scenario, until};
use crate::world::{BAD_FLAG, CLUSTER, World};

/// A size that is larger than the default: 20 GiB.
const SIZE: &str = "21474836480";

pub(super) fn all() -> Vec<Scenario> {
    let storage = rest(
        |world| world.set("storage", json!({ "size": SIZE, "onDelete": "Retain" })),
        |world| {
            let is_grown = |claim: &Value| claim["status"]["capacity"]["storage"] == SIZE;
            running(world, 3).or_else(|| every(world, "persistentvolumeclaims", is_grown))
        },
    );
    let renewal = rest(
        |world| world.pass(SignedDuration::from_hours(24 * 61)),
        |world| running(world, 3).or_else(|| renewed(world)),
    );
    let client = rest(
        |world| world.set("clients", json!([{ "name": "app" }])),
        |world| running(world, 3).or_else(|| there(world, "secrets", "main-client-app")),
    );
    let no_client = rest(
        |world| world.set("clients", json!([])),
        |world| running(world, 3).or_else(|| gone(world, "secrets", "main-client-app")),
    );
    let secret = rest(
        |world| world.lose("secrets", "main-2"),
        |world| {
            let secret = running(world, 3).or_else(|| there(world, "secrets", "main-2"));
            secret.or_else(|| reread(world))
        },
    );
    let authority = until(
        |world| {
            world.hide("secrets", "main-peer-ca");
            world.resize(5);
        },
        |world| says(world, "CertificatesValid", "AuthorityLost"),
    );
    let restored = rest(World::restore, |world| running(world, 5));
    vec![
        scenario("other settings", 3, [settings()]),
        scenario("other settings of one member", 1, [one()]),
        scenario("another version, then an older one", 3, [version(), older()]),
        scenario("settings with which nothing starts", 3, [bad_settings(), settings()]),
        scenario("a change misses its deadline", 3, [bad_settings(), late(), settings()]),
        scenario("larger volumes", 3, [storage]),
        scenario("certificates are renewed", 3, [renewal]),
        scenario("a client comes and goes", 3, [client, no_client]),
        scenario("a Secret is lost", 3, [secret]),
        scenario("an authority is lost and restored", 3, [authority, restored]),
    ]
}

fn is_set(pod: &Value) -> bool {
    let args = pod["spec"]["containers"][0]["args"].as_array();
    args.is_some_and(|args| args.contains(&json!("--max-txn-ops=256")))
}

fn set_flag(world: &mut World) {
    world.set("settings", json!({ "flags": { "max-txn-ops": "256" } }));
}

fn settings() -> Phase {
    rest(set_flag, |world| running(world, 3).or_else(|| every(world, "pods", is_set)))
}

fn one() -> Phase {
    rest(set_flag, |world| running(world, 1).or_else(|| every(world, "pods", is_set)))
}

fn bad_settings() -> Phase {
    until(
        |world| {
            let (name, value) = BAD_FLAG;
            world.set("settings", json!({ "flags": { name: value } }));
        },
        |world| changing(world, "Update").or_else(|| stopped(world)),
    )
}

/// The part that is missing until a pod has ended.
fn stopped(world: &World) -> Option<String> {
    let state = "/status/containerStatuses/0/state/terminated";
    let ended = world.objects.all("pods").any(|(_, pod)| pod.pointer(state).is_some());
    (!ended).then(|| "a pod that ended".to_owned())
}

fn late() -> Phase {
    until(
        |world| world.pass(SignedDuration::from_mins(11)),
        |world| says(world, "Progressing", "DeadlineExceeded"),
    )
}

fn is_new(pod: &Value) -> bool {
    pod["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.1"
}

fn version() -> Phase {
    rest(
        |world| world.set("version", json!("0.1.1")),
        |world| running(world, 3).or_else(|| every(world, "pods", is_new)),
    )
}

/// An older version is refused.
fn older() -> Phase {
    let lacks = |world: &World| {
        serving(world, 3)
            .or_else(|| seen(world))
            .or_else(|| says(world, "Valid", "VersionRefused"))
            .or_else(|| every(world, "pods", is_new))
    };
    rest(|world| world.set("version", json!("0.1.0")), lacks)
}

/// The part that is missing until no certificate is older than two thirds of its time.
fn renewed(world: &World) -> Option<String> {
    let expiry = world.cluster()["status"]["certificates"]["nextExpiry"].as_str()?;
    let expiry: Timestamp = expiry.parse().expect("a time");
    let soon = world.now() + SignedDuration::from_hours(24 * 60);
    let is_old = expiry < soon;
    let old = is_old.then(|| format!("certificates of {CLUSTER} for longer than {expiry}"));
    old.or_else(|| reread(world))
}

/// The part that is missing until all members use the certificates of their Secrets.
fn reread(world: &World) -> Option<String> {
    world.late_reader().map(|member| format!("{member} with its certificates"))
}
