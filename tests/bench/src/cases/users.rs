//! Puts without and with authentication, on the same server in the same round.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::HeaderValue;
use quorate_proto::authpb::permission::Type;
use quorate_proto::authpb::{Permission, UserAddOptions};
use quorate_proto::etcdserverpb as pb;

use super::{Bench, VALUE_BYTES, prose};
use crate::client::closed::{self, Load};
use crate::client::message::{self, Rpc};
use crate::client::{Connection, Drivers, run as run_client};
use crate::comparison::{self, Comparison, Target};
use crate::meter::Meter;
use crate::report::Section;
use crate::subject::{Pair, Subject};

const ROUNDS: u32 = 5;
const KEYS: u64 = 100_000;
/// The load before the measured ones: as many puts as there are keys, to random keys.
const FILL: Load = Load {
    connections: MANY_CONNECTIONS,
    clients: MANY_CLIENTS,
    requests_min: KEYS,
    time_min: Duration::ZERO,
};
const WARM_UP: u64 = 500;
const ONE_PUTS: u64 = 8_000;
const MANY_CONNECTIONS: usize = 100;
const MANY_CLIENTS: usize = 1000;
const MANY_PUTS: u64 = 200_000;
/// The limit of Quorate's CPU time of a put with authentication, divided by its time without.
const COST_MAX: f64 = 1.1;
const NAME: &str = "writer";
const PASSWORD: &str = "password";

/// The figures of some puts.
#[derive(Clone, Copy, Debug)]
struct Figures {
    per_second: f64,
    /// Microseconds.
    median: f64,
    server_cpu: f64,
}

impl Figures {
    fn mean(self, other: Self) -> Self {
        Self {
            per_second: f64::midpoint(self.per_second, other.per_second),
            median: f64::midpoint(self.median, other.median),
            server_cpu: f64::midpoint(self.server_cpu, other.server_cpu),
        }
    }
}

/// The figures of one server in one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    without: Figures,
    with: Figures,
}

/// The sections of one client and of many.
pub(super) fn run(bench: &Bench) -> Result<Vec<Section>> {
    let one = Load::of(1, 1, bench.size(ONE_PUTS));
    let many = Load::of(MANY_CONNECTIONS, MANY_CLIENTS, bench.size(MANY_PUTS));
    let sections = [("one client", ONE_TEXT, one), ("1000 clients", MANY_TEXT, many)];
    let section = |(clients, text, load): (&str, &str, Load)| {
        let title = format!("Put of 256 B without and with users, {clients}");
        let rounds =
            bench.alternate(&title, ROUNDS, |name| measure(&bench.programs.start(name)?, load))?;
        Ok(Section { title, text: prose(text), tables: comparison::tables(&compared(&rounds)) })
    };
    sections.into_iter().map(section).collect()
}

const ONE_TEXT: &str = "One lean client. The server is new in every round, and 100,000 puts \
    to random keys fill it beforehand. The first puts are made without authentication. Then a \
    user gets a role for all keys, authentication is turned on, and the client makes the same puts \
    again, with a simple token. At last authentication is turned off, and the puts are made once \
    more, because a server with more history may be slower. The figures without authentication are \
    means of the first and the last puts.";
const MANY_TEXT: &str = "The same with 100 connections of 10 clients each.";

fn compared(rounds: &[Pair<Round>]) -> Vec<Comparison> {
    let compare = |what: &str, get: fn(&Round) -> f64| Comparison::new(what, rounds, get);
    let cost = compare("CPU with / CPU without", |of| of.with.server_cpu / of.without.server_cpu);
    vec![
        compare("server CPU per put without, µs", |of| of.without.server_cpu),
        compare("server CPU per put with, µs", |of| of.with.server_cpu),
        cost.without_ratio().target(Target::Below(COST_MAX)),
        compare("p50 without, µs", |of| of.without.median),
        compare("p50 with, µs", |of| of.with.median),
        compare("puts per second without", |of| of.without.per_second),
        compare("puts per second with", |of| of.with.per_second),
    ]
}

fn measure(subject: &Subject, load: Load) -> Result<Round> {
    puts(subject, None, FILL)?;
    puts(subject, None, Load::of(1, 1, WARM_UP))?;
    let before = puts(subject, None, load)?;
    let token = enable(subject)?;
    puts(subject, Some(token.clone()), Load::of(1, 1, WARM_UP))?;
    let with = puts(subject, Some(token), load)?;
    disable(subject)?;
    puts(subject, None, Load::of(1, 1, WARM_UP))?;
    let after = puts(subject, None, load)?;
    Ok(Round { without: before.mean(after), with })
}

fn puts(subject: &Subject, token: Option<HeaderValue>, load: Load) -> Result<Figures> {
    let value = message::value(VALUE_BYTES);
    let put = move |n| message::framed(&message::put(message::scattered(n, KEYS), &value));
    let meter = Meter::start(subject.pid())?;
    let outcome = closed::drive_as(token, &subject.address(), load, Rpc::Put, put)?;
    let used = meter.used()?;
    let count: u32 = outcome.latencies.count().try_into()?;
    Ok(Figures {
        per_second: outcome.per_second(),
        median: outcome.latencies.median(),
        server_cpu: used.server.cpu.as_secs_f64() * 1e6 / f64::from(count),
    })
}

/// Turns authentication on, and returns the token of a user that may read and write all keys.
fn enable(subject: &Subject) -> Result<HeaderValue> {
    let permission = Permission {
        perm_type: Type::Readwrite.into(),
        key: vec![0].into(),
        range_end: vec![0].into(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest { name: NAME.into(), perm: Some(permission) };
    run_client(async {
        let mut drivers = Drivers::new();
        let connection = Connection::open(&subject.address(), &mut drivers).await?;
        for name in ["root", NAME] {
            let options = Some(UserAddOptions::default());
            let password = PASSWORD.into();
            let user = pb::AuthUserAddRequest {
                name: name.into(),
                password,
                options,
                ..Default::default()
            };
            let _: pb::AuthUserAddResponse = connection.unary(Rpc::UserAdd, &user).await?;
            let role = pb::AuthRoleAddRequest { name: name.into() };
            let _: pb::AuthRoleAddResponse = connection.unary(Rpc::RoleAdd, &role).await?;
            let role = pb::AuthUserGrantRoleRequest { user: name.into(), role: name.into() };
            let _: pb::AuthUserGrantRoleResponse =
                connection.unary(Rpc::UserGrantRole, &role).await?;
        }
        let _: pb::AuthRoleGrantPermissionResponse =
            connection.unary(Rpc::RoleGrantPermission, &grant).await?;
        let _: pb::AuthEnableResponse =
            connection.unary(Rpc::AuthEnable, &pb::AuthEnableRequest {}).await?;
        log_in(&connection, NAME).await
    })
}

/// Turns authentication off, as the user `root`.
fn disable(subject: &Subject) -> Result<()> {
    run_client(async {
        let mut drivers = Drivers::new();
        let connection = Connection::open(&subject.address(), &mut drivers).await?;
        let token = log_in(&connection, "root").await?;
        let connection = connection.with_token(Some(token));
        let _: pb::AuthDisableResponse =
            connection.unary(Rpc::AuthDisable, &pb::AuthDisableRequest {}).await?;
        Ok(())
    })
}

async fn log_in(connection: &Connection, name: &str) -> Result<HeaderValue> {
    let login = pb::AuthenticateRequest { name: name.into(), password: PASSWORD.into() };
    let answer: pb::AuthenticateResponse = connection.unary(Rpc::Authenticate, &login).await?;
    ensure!(!answer.token.is_empty(), "a login gives no token");
    Ok(answer.token.parse()?)
}
