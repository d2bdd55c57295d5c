//! Members keep running and can restart after any message of an impostor to a peer port.

use std::time::Duration;

use prost::bytes::Bytes;
use quorate_core::{Command, MemberPublish};
use quorate_proto::peer as pb;
use quorate_proto::peer::member_change::{Add, Change, Promote, Remove, Update};
use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use tokio_stream::iter;

use crate::impostor::{Impostor, bytes, groups, nested_txn, proposal};

/// How long to wait for a call. Many calls get no answer, because their stream stays open.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Waits for the end of a call, and ignores its result.
async fn call<T>(made: impl Future<Output = T>) {
    tokio::time::timeout(ANSWER_WITHIN, made).await.ok();
}

/// Reads a stream of answers to its end.
async fn answers<T>(
    made: impl Future<Output = Result<tonic::Response<tonic::Streaming<T>>, tonic::Status>>,
) {
    call(async {
        let Ok(answers) = made.await else { return };
        let mut answers = answers.into_inner();
        while let Ok(Some(_)) = answers.message().await {}
    })
    .await;
}

/// The state of a cluster, as far as an impostor can know it.
#[derive(Clone, Copy)]
struct Known {
    from: u64,
    to: u64,
    term: u64,
    index: u64,
}

impl Known {
    fn vote(&self) -> Option<pb::Vote> {
        Some(pb::Vote { term: self.term, member: self.from, committed: true })
    }

    fn last(&self) -> pb::LogId {
        pb::LogId { term: self.term, index: self.index }
    }

    fn append(&self, kind: u32, payload: Bytes) -> pb::AppendRequest {
        let id = Some(pb::LogId { term: self.term, index: self.index + 1 });
        let entries = vec![pb::Entry { id, kind, payload }];
        let vote = self.vote();
        let previous = Some(self.last());
        let committed = Some(pb::LogId { index: self.index + 1, ..self.last() });
        pb::AppendRequest { vote, previous, entries, committed }
    }
}

const RPCS: [&str; 16] = [
    "Append",
    "Heartbeat",
    "Vote",
    "PreVote",
    "TransferLeader",
    "FindSnapshot",
    "SendSnapshot",
    "Propose",
    "ReadIndex",
    "RenewLease",
    "LeaseTime",
    "ChangeMembers",
    "ChangeMembersIf",
    "Acknowledged",
    "Describe",
    "HashKV",
];

async fn send_invalid_messages(impostor: &Impostor) {
    for method in RPCS {
        for message in [Bytes::new(), Bytes::from_static(&[0xff; 40]), groups(1 << 20)] {
            call(impostor.raw(method, message)).await;
        }
    }
    let claim = impostor.claim();
    let own = claim.to.clone();
    for from in [own.as_str(), "", "zz.1", "1", "0.0", "ffffffffffffffffffff.1"] {
        let mut client =
            impostor.client_with(crate::impostor::Claim { from: from.to_owned(), ..claim.clone() });
        call(client.renew_lease(pb::LeaseRequest { id: 1 })).await;
    }
}

fn commands(known: Known) -> Vec<Vec<u8>> {
    let publish = |id, incarnation| {
        let name = "stranger".to_owned();
        let publish = MemberPublish { id, name, client_urls: Vec::new(), incarnation };
        Command::MemberPublish(publish).encode().to_vec()
    };
    let generation = publish(known.from, u64::MAX);
    vec![
        Vec::new(),
        vec![1],
        vec![1, 200],
        vec![9, 1],
        vec![1, 1, 0xff, 0xff],
        vec![1, 2, 0x0a, 0x7f],
        nested_txn(1 << 18),
        publish(known.to, 7),
        generation,
        Command::Put(Default::default()).encode().to_vec(),
    ]
}

async fn propose_invalid_commands(impostor: &Impostor, known: Known) {
    let mut proposals = vec![Bytes::new(), Bytes::from_static(b"too short")];
    proposals.push(proposal(known.to, &[1, 1]));
    proposals.extend(commands(known).iter().map(|command| proposal(known.from, command)));
    for proposal in proposals {
        for term in [0, known.term, u64::MAX] {
            let message = pb::Proposals { proposals: vec![proposal.clone()], term };
            answers(impostor.client().propose(iter([message]))).await;
        }
    }
}

async fn append_invalid_entries(impostor: &Impostor, known: Known) {
    let far = 1 << 62;
    let mut requests = vec![pb::AppendRequest::default()];
    for (kind, payload) in [(2, &b"\xff"[..]), (2, b""), (3, b"short"), (99, b""), (4000, b"")] {
        requests.push(known.append(kind, Bytes::from_static(payload)));
    }
    let local = commands(known).into_iter().take(7);
    requests.extend(local.map(|command| known.append(1, command.into())));
    let good = known.append(0, Bytes::new());
    let heartbeat = pb::AppendRequest { entries: Vec::new(), ..good.clone() };
    for previous in [
        None,
        Some(pb::LogId { term: known.term, index: known.index + 1000 }),
        Some(pb::LogId { term: known.term + 1, index: 1 }),
        Some(pb::LogId { term: 0, index: far }),
        Some(pb::LogId { term: u64::MAX, index: u64::MAX }),
    ] {
        requests.push(pb::AppendRequest { previous, ..heartbeat.clone() });
        requests.push(pb::AppendRequest { previous, ..good.clone() });
    }
    for committed in [pb::LogId { term: far, index: far }, pb::LogId { term: 0, index: far }] {
        requests.push(pb::AppendRequest { committed: Some(committed), ..heartbeat.clone() });
    }
    for (term, member, committed) in
        [(far, known.from, true), (known.term, known.to, true), (known.term, known.from, false)]
    {
        let vote = Some(pb::Vote { term, member, committed });
        requests.push(pb::AppendRequest { vote, ..heartbeat.clone() });
    }
    for request in requests {
        answers(impostor.client().append(iter([request.clone()]))).await;
        answers(impostor.client().heartbeat(iter([request]))).await;
    }
}

async fn send_invalid_votes(impostor: &Impostor, known: Known) {
    let mut client = impostor.client();
    let last = Some(pb::LogId { term: known.term, index: 1 << 40 });
    for (term, member, committed) in [
        ((1 << 63) - 1, known.from, false),
        (1 << 62, known.from, true),
        (known.term, known.to, true),
        (known.term + 1, known.to, true),
        (u64::MAX, u64::MAX, false),
    ] {
        let vote = Some(pb::Vote { term, member, committed });
        for transfer in [true, false] {
            let request = pb::VoteRequest { vote, last, transfer };
            call(client.vote(request)).await;
            call(client.pre_vote(request)).await;
        }
        let from = vote;
        for to in [known.from, known.to, 0] {
            let request = pb::TransferRequest { from, to, last };
            call(client.transfer_leader(request)).await;
        }
        call(client.acknowledged(pb::AcknowledgedRequest { vote })).await;
    }
}

async fn send_invalid_snapshots(impostor: &Impostor, known: Known) {
    let mut client = impostor.client();
    let vote = known.vote();
    let membership = Bytes::from_static(b"\xff\xff");
    let last = Some(pb::LogId { term: known.term, index: known.index + 5 });
    for id in ["", "../../../x", "\0"] {
        let membership = membership.clone();
        let id = id.to_owned();
        let head = pb::SnapshotHead { vote, last, membership, id, bytes: u64::MAX };
        call(client.find_snapshot(head.clone())).await;
        for content in [Bytes::new(), Bytes::from_static(&[0; 64]), bytes(&head)] {
            let part = |head, is_last| {
                let content = content.clone();
                pb::SnapshotPart { head, number: 0, content, is_last }
            };
            let sent = [part(Some(head.clone()), false), part(None, true)];
            call(client.send_snapshot(iter(sent))).await;
            call(client.send_snapshot(iter([part(None, true)]))).await;
        }
    }
}

async fn send_invalid_requests(impostor: &Impostor) {
    let mut client = impostor.client();
    answers(client.read_index(iter(vec![pb::ReadIndexRequest {}; 100]))).await;
    for id in [i64::MIN, -1, 0, i64::MAX] {
        call(client.renew_lease(pb::LeaseRequest { id })).await;
        call(client.lease_time(pb::LeaseRequest { id })).await;
        call(client.hash_kv(pb::HashRequest { revision: id })).await;
    }
    let add = |peer_urls: &[&str]| {
        let peer_urls = peer_urls.iter().map(|url| (*url).to_owned()).collect();
        Some(Change::Add(Add { peer_urls, is_learner: true }))
    };
    let long = format!("http://{}:1", "a".repeat(1 << 20));
    let update = Update { id: 1, peer_urls: Vec::new() };
    for change in [
        None,
        add(&[]),
        add(&["nonsense"]),
        add(&["http://a b:1"]),
        add(&[&long]),
        Some(Change::Remove(Remove { id: 0 })),
        Some(Change::Update(update)),
        Some(Change::Promote(Promote { id: u64::MAX })),
    ] {
        let change = pb::MemberChange { change };
        call(client.change_members(change.clone())).await;
        let change = Some(change);
        call(client.change_members_if(pb::ConditionalMemberChange { expected: 0, change })).await;
    }
}

#[test]
fn no_message_of_an_impostor_stops_a_member_or_its_restart() {
    let mut cluster = Cluster::start_new(&program::quorate(), 3, &[]);
    cluster.put(0, "before", "good");
    let (leader, _) = cluster.leader();
    // The leader is called in a follower's name, and a follower in the leader's name.
    let follower = (leader + 1) % 3;
    for (target, name) in [(follower, leader), (leader, follower)] {
        let status = cluster.status(target);
        let to = status.header.unwrap().member_id;
        let from = cluster.member_id(name);
        let known = Known { from, to, term: status.raft_term, index: status.raft_index };
        let url = cluster.members[target].peer_url();
        cluster.block_on(async {
            let impostor = Impostor::new(&url, from).await;
            send_invalid_messages(&impostor).await;
            propose_invalid_commands(&impostor, known).await;
            append_invalid_entries(&impostor, known).await;
            send_invalid_votes(&impostor, known).await;
            send_invalid_snapshots(&impostor, known).await;
            send_invalid_requests(&impostor).await;
        });
        for member in &mut cluster.members {
            let ended = member.exit_status();
            assert_eq!(ended, None, "{} has ended:\n{}", member.name(), member.log_tail());
        }
        (0..3).for_each(|member| cluster.put(member, "during", &member.to_string()));
    }
    assert_eq!(cluster.list(0).len(), 3);
    cluster.kill();
    cluster.start();
    for member in 0..3 {
        assert_eq!(cluster.get(member, "before").as_deref(), Some("good"));
        cluster.put(member, "after", "good");
    }
}
