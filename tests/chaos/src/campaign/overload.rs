//! Overloads members. Writes must succeed during every overload.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_proto::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest, WatchRequest};
use quorate_test_support::log_pipe::LogSwitch;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::Campaign;
use crate::fault::Fault;
use crate::fault::limits::LAUNCHER;
use crate::history::{Operation, Request};
use crate::workload::load::Load;
use crate::workload::traffic::{BULK, FLOOD, Profile, Traffic};
use crate::workload::unread::{RANGE, UnreadConnection, WATCH};
use crate::workload::value::value;

/// Descriptors of this process: enough to open more connections than a member can accept.
const DESCRIPTORS: u64 = 8192;
/// The number of values that make a range of all keys large, and the bytes of each value.
const LARGE_VALUES: (usize, usize) = (64, 256 << 10);
/// The number of clients that write while a member is overloaded.
const WRITERS: usize = 8;
/// The writes of each of these clients. The small writes cause more messages than a watch may
/// queue. The large writes have more bytes than the first log segments hold.
const SMALL_WRITES: Profile = FLOOD.up_to(2000);
const LARGE_WRITES: Profile = BULK.up_to(12);
/// The number of connections that read nothing, and the number of requests over each connection.
const UNREAD_RANGES: (usize, usize) = (8, 16);
const UNREAD_WATCHES: (usize, usize) = (40, 10);
/// The number of silent connections to the client port and to the peer port.
const SILENT: (usize, usize) = (1100, 200);
/// How long a connection may take to open.
const CONNECT_WITHIN: Duration = Duration::from_millis(100);
/// The number of clients that abandon ranges, the time after which a client abandons a range, and
/// the number of ranges that each client abandons.
const IMPATIENT: usize = 50;
const PATIENCE: Duration = Duration::from_millis(20);
const GIVEN_UP: usize = 40;
/// How long a slow member runs, and how long it is paused.
const RUNS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(90));
/// How often a slow member is paused.
const PULSES: usize = 24;
/// How long a slow disk works, and how long it hangs.
const WORKS: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(800));
/// How often a slow disk hangs.
const HANGS: usize = 8;
/// The number of terms that may pass while members are slow. Two terms may pass, because a busy
/// machine may cause elections.
const TERMS_MAX: u64 = 2;
/// The number of invalid handshakes with each member. Together, these handshakes cause more log
/// lines than a pipe holds.
const BAD_HELLOS: usize = 400;

impl Campaign {
    /// Limits members: few descriptors, one worker thread, and a log of events that can be
    /// blocked.
    pub(super) fn limit_members(&mut self) {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let current = Some(maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS)));
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("it is below the maximum");
        for member in &mut self.cluster.members {
            let switch = LogSwitch::default();
            member.set_launcher(&LAUNCHER);
            member.log_through(&switch);
            self.switches.push(switch);
        }
    }

    /// Writes the values that make a range of all keys large.
    pub(super) fn write_large_values(&mut self) {
        let (count, length) = LARGE_VALUES;
        for number in 0..count {
            let id = self.clock.operation_id();
            let key = format!("z/{number:03}").into();
            let value = value(id, 0, length);
            let put = Request::Put(PutRequest { key, value, ..Default::default() });
            let mut client = self.client(number % self.size());
            let operation = self.runtime.block_on(client.ask_as(id, put));
            self.pending.push(operation);
        }
    }

    /// Overloads members, and ends the overload. Checks that writes succeed: during the overload,
    /// or, if members are only slow, right after it.
    pub(super) fn overload(&mut self, fault: Fault, leader: usize, follower: usize) {
        let one = self.any_place();
        match fault {
            Fault::PauseWatches => self.pause_watches(),
            Fault::UnreadRanges => self.leave_unread(one, UNREAD_RANGES, RANGE, &everything()),
            Fault::UnreadWatches => {
                let start = self.checker.model().compacted() + 1;
                self.leave_unread(one, UNREAD_WATCHES, WATCH, &watch_from(start));
            }
            Fault::SilentConnections => self.connect_silently(one),
            Fault::CancelRanges => self.cancel_ranges(one),
            Fault::SlowFollower => self.slow_down(follower),
            Fault::SlowDisks => self.slow_disks(leader),
            _ => self.block_logs(follower),
        }
    }

    /// Writes through all members except the member in place `without`.
    fn write_much(&mut self, profile: Profile, without: Option<usize>) {
        let places: Vec<usize> = (0..self.size()).filter(|place| Some(*place) != without).collect();
        let mut load = Load::default();
        for number in 0..WRITERS {
            let rng = self.client_rng();
            let client = self.failover_client(places[number % places.len()]);
            load.add(self.runtime.handle(), client, Traffic::new(rng), profile);
        }
        let (written, _) = self.runtime.block_on(load.run());
        self.pending.extend(written);
    }

    /// Checks that writes through every member still succeed.
    fn write_meanwhile(&mut self) {
        let written = self.write_through_all();
        self.pending.extend(written);
    }

    fn pause_watches(&mut self) {
        self.watches.set_paused(true);
        self.write_much(SMALL_WRITES, None);
        self.write_meanwhile();
        self.watches.set_paused(false);
        self.effect.overloads += 1;
    }

    fn leave_unread(
        &mut self,
        place: usize,
        (connections, streams): (usize, usize),
        path: &str,
        message: &[u8],
    ) {
        let address = self.cluster.members[place].address();
        let (opened, asked) = self.runtime.block_on(async {
            let mut opened = Vec::new();
            let mut asked = 0;
            for _ in 0..connections {
                let Some(mut connection) = UnreadConnection::connect(&address).await else {
                    continue;
                };
                for _ in 0..streams {
                    asked += usize::from(connection.ask(path, message).await);
                }
                opened.push(connection);
            }
            (opened, asked)
        });
        self.effect.overloads += asked;
        self.sleep_in_fault();
        self.write_meanwhile();
        self.rewrite_meanwhile(place);
        drop(opened);
    }

    fn connect_silently(&mut self, place: usize) {
        let member = &self.cluster.members[place];
        let connect = |address: &str, count| {
            let address: SocketAddr = address.parse().expect("it is one");
            let silent =
                (0..count).map(move |_| TcpStream::connect_timeout(&address, CONNECT_WITHIN));
            silent.flatten()
        };
        let clients = connect(&member.address(), SILENT.0);
        let silent: Vec<TcpStream> =
            clients.chain(connect(&member.peer_address(), SILENT.1)).collect();
        self.effect.overloads += silent.len();
        // The writes fill more than one log segment. The next segment needs a descriptor.
        self.write_much(LARGE_WRITES, Some(place));
        drop(silent);
        self.write_meanwhile();
    }

    fn cancel_ranges(&mut self, place: usize) {
        let message = RangeRequest::decode(everything().as_slice()).expect("it was encoded");
        let clients: Vec<_> =
            (0..IMPATIENT).map(|_| self.client(place).with_patience(PATIENCE)).collect();
        let asking: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let message = message.clone();
                self.runtime.spawn(async move {
                    let mut asked: Vec<Operation> = Vec::new();
                    for _ in 0..GIVEN_UP {
                        asked.push(client.ask(Request::Range(message.clone())).await);
                    }
                    asked
                })
            })
            .collect();
        self.write_meanwhile();
        for task in asking {
            let asked = self.runtime.block_on(task).expect("a client does not panic");
            let unanswered = asked.iter().filter(|operation| operation.is_unanswered()).count();
            self.effect.overloads += unanswered;
            self.pending.extend(asked);
        }
        self.assert_given_up(place);
    }

    fn slow_down(&mut self, place: usize) {
        let before = self.leadership().term;
        for _ in 0..PULSES {
            self.cluster.members[place].signal(Signal::STOP);
            thread::sleep(RUNS.1);
            self.cluster.members[place].signal(Signal::CONT);
            thread::sleep(RUNS.0);
            self.effect.overloads += 1;
        }
        self.write_meanwhile();
        self.assert_steady(before);
    }

    /// Makes the disks of all members except the leader hang several times.
    fn slow_disks(&mut self, leader: usize) {
        let before = self.leadership().term;
        for _ in 0..HANGS {
            let slow = (0..self.size()).filter(|place| *place != leader);
            let hanging: Vec<_> = slow.map(|place| self.disks[place].hang()).collect();
            thread::sleep(WORKS.1);
            drop(hanging);
            thread::sleep(WORKS.0);
            self.effect.overloads += 1;
        }
        self.write_meanwhile();
        self.assert_steady(before);
    }

    /// Checks that slow members have caused few elections: at most [`TERMS_MAX`] terms may pass.
    fn assert_steady(&self, before: u64) {
        let passed = self.leadership().term - before;
        assert!(passed <= TERMS_MAX, "{passed} terms have passed while some members were slow");
    }

    fn block_logs(&mut self, place: usize) {
        self.switches.iter().for_each(|switch| switch.set_blocked(true));
        for member in &self.cluster.members {
            let address: SocketAddr = member.peer_address().parse().expect("it is one");
            for _ in 0..BAD_HELLOS {
                let stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN);
                let said =
                    stream.and_then(|mut stream| stream.write_all(b"GET / HTTP/1.1\r\n\r\n"));
                self.effect.overloads += usize::from(said.is_ok());
            }
        }
        self.write_meanwhile();
        let asked = Instant::now();
        self.stop(place);
        eprintln!("a member whose log of events is blocked stopped in {:?}", asked.elapsed());
        self.switches.iter().for_each(|switch| switch.set_blocked(false));
    }
}

/// An encoded range request for all keys, sorted by value.
fn everything() -> Vec<u8> {
    let all = Bytes::from_static(b"\0");
    let range = RangeRequest {
        key: all.clone(),
        range_end: all,
        sort_target: SortTarget::Value as i32,
        sort_order: SortOrder::Descend as i32,
        ..Default::default()
    };
    range.encode_to_vec()
}

/// An encoded watch request for all keys from a revision on.
fn watch_from(start_revision: i64) -> Vec<u8> {
    let all = Bytes::from_static(b"\0");
    let create = WatchCreateRequest {
        key: all.clone(),
        range_end: all,
        start_revision,
        prev_kv: true,
        ..Default::default()
    };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec()
}
