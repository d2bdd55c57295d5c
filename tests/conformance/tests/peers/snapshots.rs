//! A snapshot that another member sends: its progress, and the refusal of a newer data format.

use std::time::Duration;

use crc32c::{crc32c, crc32c_append};
use quorate_proto::peer as pb;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::metrics::samples;
use quorate_test_support::{assert_contains, http, program, wait};
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt as _, iter, pending};
use tonic::{Response, Status};

use crate::impostor::Impostor;

const RECEIVED: &str = "quorate_snapshot_received_bytes";
const EXPECTED: &str = "quorate_snapshot_expected_bytes";
/// How long a metric may take to change.
const WITHIN: Duration = Duration::from_secs(30);

/// A cluster, and a client that speaks to a follower in the leader's name.
struct Sender {
    cluster: Cluster,
    follower: usize,
    impostor: Impostor,
    vote: pb::Vote,
}

impl Sender {
    fn new() -> Self {
        let cluster = Cluster::start_new(&program::quorate(), 3, &[]);
        cluster.put(0, "key", "value");
        let (leader, term) = cluster.leader();
        let follower = (leader + 1) % 3;
        let member = cluster.member_id(leader);
        let url = cluster.members[follower].peer_url();
        let impostor = cluster.block_on(Impostor::new(&url, member));
        Self { cluster, follower, impostor, vote: pb::Vote { term, member, committed: true } }
    }

    /// The first message of a snapshot, with a part of this format without rows.
    fn first(&self, format: u32, bytes: u64) -> pb::SnapshotPart {
        let vote = Some(self.vote);
        let id = format!("snapshot of {bytes} bytes");
        let checksum = crc32c(id.as_bytes());
        let head = Some(pb::SnapshotHead { vote, id, bytes, ..Default::default() });
        let mut content = vec![0; 4];
        content.extend(format.to_le_bytes());
        content.extend(0_u64.to_le_bytes());
        let checksum = crc32c_append(checksum, &content[4..]);
        content[..4].copy_from_slice(&checksum.to_le_bytes());
        pb::SnapshotPart { head, number: 0, content: content.into(), is_last: false }
    }

    fn send<P>(
        &self,
        parts: P,
    ) -> impl Future<Output = Result<Response<pb::SnapshotReply>, Status>> + Send + use<P>
    where
        P: Stream<Item = pb::SnapshotPart> + Send + 'static,
    {
        let mut client = self.impostor.client();
        async move { client.send_snapshot(parts).await }
    }

    /// The follower's metric of the snapshot from the leader; `None` without one.
    fn metric(&self, name: &str) -> Option<f64> {
        let page = http::get(&self.cluster.members[self.follower].address(), "/metrics").unwrap();
        let from = format!("{:x}", self.vote.member);
        let all = samples(&page);
        let its = all.iter().find(|one| one.name == name && one.labels["From"] == from);
        its.map(|one| one.value)
    }
}

#[test]
fn a_snapshot_of_a_newer_format_is_refused() {
    let sender = Sender::new();
    for _ in 0..3 {
        let refused = sender.cluster.block_on(sender.send(iter([sender.first(4, 0)])));
        let said = refused.unwrap_err().message().to_owned();
        assert_contains(&said, &["data format 4", "data formats up to 3", "or a later one"]);
    }
    let follower = &sender.cluster.members[sender.follower];
    let lines = || {
        let log = follower.log_of_run();
        let lines = log.lines().filter(|line| line.contains("data format 4"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    wait::until("a log line", WITHIN, || (!lines().is_empty()).then_some(()));
    let lines = lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_contains(&lines[0], &["cannot receive a snapshot", "warn"]);
    assert_eq!(sender.cluster.get(sender.follower, "key").as_deref(), Some("value"));
}

#[test]
fn the_progress_of_a_snapshot_is_a_metric() {
    let sender = Sender::new();
    for expected in [1000, 0] {
        assert_eq!((sender.metric(RECEIVED), sender.metric(EXPECTED)), (None, None));
        let first = sender.first(1, expected);
        let length = first.content.len() as f64;
        let mut sending = JoinSet::new();
        sender.cluster.block_on(async {
            sending.spawn(sender.send(iter([first]).chain(pending())));
        });
        let shown = (expected > 0).then_some(expected as f64);
        wait::until("the received part counts", WITHIN, || {
            (sender.metric(RECEIVED) == Some(length)).then_some(())
        });
        assert_eq!(sender.metric(EXPECTED), shown);
        drop(sending);
        wait::until("the end of the transfer", WITHIN, || {
            sender.metric(RECEIVED).is_none().then_some(())
        });
    }
}
