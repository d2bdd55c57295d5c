//! The life of a quorum, told as a story: read it with `--nocapture`. Counsellors are members, the
//! king is the leader, and laws are writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::iter;
use std::time::{Duration, Instant};

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_proto::etcdserverpb::request_op::Request as Op;
use quorate_test_chaos::campaign::events;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::net::Net;
use quorate_test_support::{program, wait};
use tonic::{Code, Response, Status};

/// The number of counsellors.
const COUNSELLORS: usize = 9;
/// How long the land may be without a king.
const INTERREGNUM_MAX: Duration = Duration::from_secs(20);
/// How long the messengers may take to bring every counsellor the laws that he missed.
const REUNION_MAX: Duration = Duration::from_secs(60);
/// How long a counsellor may take to answer: longer than any request timeout.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Laws that each counsellor makes on a normal day.
const LAWS: usize = 5;

/// The law that was made between the death of one king and the reign of the next.
const BETWEEN_KINGS: &str = "law of the interregnum";

/// The result of a call.
type Answer<T> = Result<Response<T>, Status>;

/// The land.
struct Land {
    cluster: Cluster,
    /// The laws that were made: name and text, which names the counsellor.
    laws: Vec<(String, String)>,
    /// The names of laws that were proposed and not made.
    refused: Vec<String>,
}

/// Prints a sentence of the story.
macro_rules! tell {
    ($($part:tt)*) => { eprintln!("  {}", format_args!($($part)*)) };
}

impl Land {
    fn found() -> Self {
        let mut cluster = Cluster::on_machines(&program::quorate(), COUNSELLORS, &[]);
        cluster.start();
        Self { cluster, laws: Vec::new(), refused: Vec::new() }
    }

    /// The status of a counsellor.
    fn status(&self, i: usize) -> Result<pb::StatusResponse, Status> {
        let mut client = MaintenanceClient::new(self.cluster.channel(i - 1));
        self.answer(async { client.status(pb::StatusRequest {}).await })
    }

    /// The answer to a question. Every counsellor must give one in time.
    fn answer<T>(&self, asked: impl Future<Output = Answer<T>>) -> Result<T, Status> {
        let asked = async { tokio::time::timeout(ANSWER_WITHIN, asked).await };
        let answer = self.cluster.block_on(asked).expect("every counsellor answers");
        Ok(answer?.into_inner())
    }

    /// The king whom all of `counsellors` acknowledge.
    fn king(&self, counsellors: &[usize]) -> usize {
        wait::until("a king whom all know", INTERREGNUM_MAX, || {
            let mut known = counsellors.iter().map(|i| self.status(*i).ok().map(|s| s.leader));
            let first = known.next()??;
            (first != 0 && known.all(|other| other == Some(first))).then_some(())?;
            let is_he = |i: &&usize| self.status(**i).is_ok_and(|s| self.id(&s) == first);
            counsellors.iter().find(is_he).copied()
        })
    }

    fn id(&self, status: &pb::StatusResponse) -> u64 {
        status.header.unwrap_or_default().member_id
    }

    /// Makes a law unless one of this name exists: then an earlier attempt made it and its answer
    /// was lost.
    fn propose(&self, by: usize, name: &str, text: &str) -> Result<(), Status> {
        let mut client = KvClient::new(self.cluster.channel(by - 1));
        let key = name.to_owned();
        let value = text.to_owned().into();
        let put = pb::PutRequest { key: key.clone().into(), value, ..Default::default() };
        let is_new = pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Create as i32,
            key: key.into(),
            target_union: Some(TargetUnion::CreateRevision(0)),
            ..Default::default()
        };
        let put = pb::RequestOp { request: Some(Op::RequestPut(put)) };
        let txn = pb::TxnRequest { compare: vec![is_new], success: vec![put], failure: Vec::new() };
        self.answer(async { client.txn(txn).await }).map(drop)
    }

    /// Makes a law. A counsellor who has just lost his king may try again.
    fn make(&mut self, by: usize, name: &str) {
        let text = format!("said counsellor {by}");
        wait::until("a law", INTERREGNUM_MAX, || self.propose(by, name, &text).ok());
        self.laws.push((name.to_owned(), text));
    }

    fn read(&self, by: usize, name: &str, serializable: bool) -> Result<Option<String>, Status> {
        let mut client = KvClient::new(self.cluster.channel(by - 1));
        let key = name.to_owned().into();
        let range = pb::RangeRequest { key, serializable, ..Default::default() };
        let answer = self.answer(async { client.range(range).await })?;
        let text =
            |kv: &quorate_proto::mvccpb::KeyValue| String::from_utf8_lossy(&kv.value).into_owned();
        Ok(answer.kvs.first().map(text))
    }

    /// Checks that every counsellor has every law, in the same order, and nothing else. Returns the
    /// last revision.
    fn has_one_history(&self) -> i64 {
        let last = self.laws.last().unwrap();
        let everywhere = |name: &str, text: &str| {
            (1..=COUNSELLORS)
                .all(|i| self.read(i, name, true).is_ok_and(|read| read.as_deref() == Some(text)))
        };
        wait::until("the last law is known everywhere", REUNION_MAX, || {
            everywhere(&last.0, &last.1).then_some(())
        });
        let revision = self.status(1).unwrap().header.unwrap_or_default().revision;
        wait::until("all have come equally far", REUNION_MAX, || {
            (1..=COUNSELLORS)
                .all(|i| {
                    self.hash(i, revision).is_ok_and(|hash| hash == self.hash(1, revision).unwrap())
                })
                .then_some(())
        });
        let history = |i: usize| {
            let url = self.cluster.members[i - 1].url();
            self.cluster.block_on(events(&url, 2, revision))
        };
        let first = history(1);
        for i in 2..=COUNSELLORS {
            assert_eq!(history(i), first, "counsellor {i} tells another history");
        }
        assert_eq!(first.len(), self.laws.len(), "there is something else than laws");
        for (name, text) in &self.laws {
            let told = first.iter().filter_map(|event| event.kv.as_ref());
            let told: Vec<_> = told.filter(|kv| kv.key == name.as_bytes()).collect();
            assert_eq!(told.len(), 1, "{name}");
            assert_eq!(told[0].value, text.as_bytes(), "{name}");
        }
        for name in &self.refused {
            let told = first.iter().filter_map(|event| event.kv.as_ref());
            assert_eq!(told.filter(|kv| kv.key == name.as_bytes()).count(), 0, "{name}");
        }
        revision
    }

    fn hash(&self, i: usize, revision: i64) -> Result<u32, Status> {
        let mut client = MaintenanceClient::new(self.cluster.channel(i - 1));
        let request = pb::HashKvRequest { revision };
        Ok(self.answer(async { client.hash_kv(request).await })?.hash)
    }

    /// Checks that none of `counsellors` can make a law or say which law is current.
    fn is_powerless(&mut self, counsellors: &[usize], known: &str) {
        for i in counsellors {
            let name = format!("law of the four, by {i}");
            let refusal = self.propose(*i, &name, "void").expect_err("four of nine make no law");
            assert!(
                matches!(refusal.code(), Code::Unavailable | Code::DeadlineExceeded),
                "{refusal}"
            );
            self.refused.push(name);
            let unread = self.read(*i, known, false).expect_err("four of nine cannot know the law");
            assert!(
                matches!(unread.code(), Code::Unavailable | Code::DeadlineExceeded),
                "{unread}"
            );
            let old = self.read(*i, known, true).unwrap();
            assert!(old.is_some(), "what he remembers, he may say");
            tell!("Counsellor {i} is asked for a law: \"{}\".", refusal.message());
        }
    }
}

fn named(counsellors: &[usize]) -> String {
    let mut names = String::new();
    for i in counsellors {
        write!(names, "{}{i}", if names.is_empty() { "" } else { ", " }).unwrap();
    }
    names
}

/// Nine counsellors found a land and make laws.
fn founding(land: &mut Land) -> usize {
    let everybody: Vec<usize> = (1..=COUNSELLORS).collect();
    let king = land.king(&everybody);
    tell!("Nine counsellors found a land and elect one of them king: {king}.");
    for i in &everybody {
        for law in 0..LAWS {
            land.make(*i, &format!("law {law} of counsellor {i}"));
        }
    }
    tell!("Each of them makes {LAWS} laws; it is the same to whom one brings a law.");
    let revision = land.has_one_history();
    tell!("All nine know all {} laws, in one order, up to revision {revision}.", land.laws.len());
    king
}

/// The king dies, another is elected, and the dead one returns as a counsellor.
fn succession(land: &mut Land, king: usize) -> usize {
    land.cluster.members[king - 1].kill();
    let died = Instant::now();
    tell!("The king dies.");
    let living: Vec<usize> = (1..=COUNSELLORS).filter(|i| *i != king).collect();
    land.make(living[0], BETWEEN_KINGS);
    let took = died.elapsed().as_secs_f64();
    let heir = land.king(&living);
    assert_ne!(heir, king);
    tell!("Counsellor {heir} is elected; {took:.1} s after the death there is a new law.");
    land.cluster.members[king - 1].start();
    let everybody: Vec<usize> = (1..=COUNSELLORS).collect();
    assert_eq!(land.king(&everybody), heir, "who was king before is a counsellor among others");
    tell!("{king} rises again, and finds himself a counsellor.");
    land.has_one_history();
    heir
}

/// The land is split into five and four. The king is among the four, which is the harder case.
fn division(land: &mut Land, king: usize) {
    let others: Vec<usize> = (1..=COUNSELLORS).filter(|i| *i != king).collect();
    let (three, five) = others.split_at(3);
    let four: Vec<usize> = iter::once(king).chain(three.iter().copied()).collect();
    land.cluster.net().split(&[five, &four]);
    let here = named(five);
    let there = named(&four);
    tell!("An earthquake splits the land: {here} here; {there} there, with the king.");
    let split = Instant::now();
    land.make(five[0], "first law of the five");
    tell!("{:.1} s later the five make a law.", split.elapsed().as_secs_f64());
    let second = land.king(five);
    assert!(five.contains(&second));
    tell!("They have made counsellor {second} their king.");
    land.is_powerless(&four, BETWEEN_KINGS);
    tell!("The four make no law, and say of none that it is the last. They have a crown alone.");
    for i in five {
        land.make(*i, &format!("law of the five, by {i}"));
        assert!(land.read(*i, BETWEEN_KINGS, false).unwrap().is_some());
    }
    tell!("The five go on making laws.");
}

/// The land is reunited.
fn reunion(land: &mut Land) {
    land.cluster.net().heal();
    let healed = Instant::now();
    let everybody: Vec<usize> = (1..=COUNSELLORS).collect();
    let king = land.king(&everybody);
    let took = healed.elapsed().as_secs_f64();
    tell!("The land is reunited under king {king}, {took:.1} s after the bridge stands.");
    for i in &everybody {
        land.make(*i, &format!("law of the reunion, by {i}"));
    }
    let revision = land.has_one_history();
    let laws = land.laws.len();
    tell!("All nine tell one history of {laws} laws, up to revision {revision}.");
    tell!("None of the four's is in it.\n");
}

#[test]
fn nine_counsellors() {
    if !Net::can_be_made("nine counsellors") {
        return;
    }
    eprintln!("\nThe king and his counsellors\n");
    let mut land = Land::found();
    let king = founding(&mut land);
    let heir = succession(&mut land, king);
    division(&mut land, heir);
    reunion(&mut land);
}
