//! Scripts: facts about the members, a change, and the decision.
//!
//! Members are written as `2vsah@950`: member 2 has a vote (`v`), is a learner (`l`), or with
//! neither waits for its vote; it has started (`s`), answers (`a`), has answered for long (`h`),
//! and its log matches up to entry 950. The leader is member 1, its log ends at entry 1000, and
//! member N is at `http://N`.

use quorate_proto::peer::member_change::{Promote, Remove};

use super::*;

const FRESH: u64 = 9;

/// The facts with these members.
fn facts(members: &str) -> MembershipFacts {
    let mut facts = MembershipFacts { me: 1, last: 1000, ..MembershipFacts::default() };
    for member in members.split(' ') {
        let (known, matched) = member.split_once('@').unwrap_or((member, ""));
        let (id, flags) = known.split_at(1);
        let id = id.parse().unwrap();
        let is = |flag| flags.contains(flag);
        let peer = Peer { peer_urls: vec![format!("http://{id}")], is_learner: is('l') };
        facts.peers.insert(id, peer);
        facts.matched.insert(id, matched.parse().ok());
        for (flag, set) in [
            ('v', &mut facts.voters),
            ('s', &mut facts.started),
            ('a', &mut facts.active),
            ('h', &mut facts.healthy),
        ] {
            if is(flag) {
                set.insert(id);
            }
        }
    }
    facts
}

fn change(words: &str) -> Change {
    let urls = |url: &str| vec![url.to_owned()];
    let id = |id: &str| id.parse().unwrap();
    match words.split(' ').collect::<Vec<_>>()[..] {
        ["add", url] => Change::Add(Add { peer_urls: urls(url), is_learner: false }),
        ["learner", url] => Change::Add(Add { peer_urls: urls(url), is_learner: true }),
        ["remove", member] => Change::Remove(Remove { id: id(member) }),
        ["update", member, url] => Change::Update(Update { id: id(member), peer_urls: urls(url) }),
        ["promote", member] => Change::Promote(Promote { id: id(member) }),
        _ => panic!("no change: {words}"),
    }
}

fn written(outcome: Result<Step, Refusal>) -> String {
    let list = |ids: Vec<&u64>| ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
    match outcome {
        Ok(Step::Write { voters, peers }) => {
            format!("{} vote of {}", list(voters.iter().collect()), list(peers.keys().collect()))
        }
        Ok(Step::Set { id, peer }) => format!("{id} at {}", peer.peer_urls.join(",")),
        Ok(Step::Promote { id, .. }) => format!("{id} is promoted"),
        Ok(Step::TransferLeadership) => "another leads first".to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

/// Members, a change, and the decision under strict rules.
const STRICT: [(&str, &str, &str); 41] = [
    // A cluster of one running member may grow to two.
    ("1vs", "add http://9", "1 vote of 1 9"),
    ("1v", "add http://9", "NotEnoughStarted"),
    ("1vs 2vsah", "add http://9", "1 2 vote of 1 2 9"),
    ("1vs 2vsa", "add http://9", "Unhealthy"),
    ("1vs 2v", "add http://9", "NotEnoughStarted"),
    ("1vs 2vsah 3vs", "add http://9", "Unhealthy"),
    ("1vs 2vsah", "add http://2", "UrlExists"),
    ("1vs 2vsah", "learner http://9", "1 2 vote of 1 2 9"),
    ("1vs 2v", "learner http://9", "Unhealthy"),
    ("1vs 2vsah 3l", "learner http://9", "TooManyLearners"),
    // A learner needs the quorum of the voters, a voter that of the voters and itself.
    ("1vs 2vsah 3vs", "learner http://9", "1 2 3 vote of 1 2 3 9"),
    ("1vs 2vsa 3vs", "learner http://9", "Unhealthy"),
    ("1vs 2vs 3vs", "learner http://9", "Unhealthy"),
    ("1vs 2vsah 3vs 4vs", "learner http://9", "Unhealthy"),
    ("1vs 2vsah 3vsah 4vs 5vs", "learner http://9", "1 2 3 4 5 vote of 1 2 3 4 5 9"),
    // Members that wait for their vote do not count.
    ("1vs 2vsah 3vs 4", "learner http://9", "1 2 3 vote of 1 2 3 4 9"),
    ("1vs 2vs 3vs 4sah 5sah", "learner http://9", "Unhealthy"),
    ("1vs 2vsah 3l", "add http://9", "1 2 vote of 1 2 3 9"),
    ("1vs", "remove 7", "NotFound"),
    ("1vs 2vsah 3vsah", "remove 3", "1 2 vote of 1 2"),
    ("1vs 2vs 3vsah", "remove 3", "Unhealthy"),
    ("1vs 2vs 3vsah", "remove 2", "1 3 vote of 1 3"),
    ("1vs 2vsah 3v", "remove 2", "NotEnoughStarted"),
    ("1vs 2vsah 3v", "remove 3", "1 2 vote of 1 2"),
    // Members that wait for their vote do not count for the quorum.
    ("1vs 2vs 3vsah 4sah 5sah", "remove 3", "Unhealthy"),
    ("1vs 2vs 3l", "remove 3", "1 2 vote of 1 2"),
    ("1vs 2vsah", "remove 1", "another leads first"),
    ("1vs", "remove 1", "NotEnoughStarted"),
    ("1vs 2vsah", "update 2 http://7", "2 at http://7"),
    ("1vs 2vsah", "update 2 http://2", "2 at http://2"),
    ("1vs 2vsah", "update 2 http://1", "UrlExists"),
    ("1vs 2vsah", "update 7 http://7", "NotFound"),
    ("1vs 4l@900", "promote 4", "4 is promoted"),
    ("1vs 4l@899", "promote 4", "LearnerNotReady"),
    ("1vs 4l", "promote 4", "LearnerNotReady"),
    ("1vs 4l@900", "promote 1", "NotLearner"),
    ("1vs 4l@900", "promote 7", "NotFound"),
    ("1vs 2v 3v 4l@1000", "promote 4", "NotEnoughStarted"),
    // The ways from a dead voter of three and a new learner: either change may come first.
    ("1vs 2vsah 3vs 4lsah@1000", "remove 3", "1 2 vote of 1 2 4"),
    ("1vs 2vsah 4lsah@1000", "promote 4", "4 is promoted"),
    ("1vs 2vsah 3vs 4lsah@1000", "promote 4", "4 is promoted"),
];

/// The same where changes may cost the quorum.
const LAX: [(&str, &str, &str); 6] = [
    ("1vs 2v", "add http://9", "1 2 vote of 1 2 9"),
    ("1vs 2v", "add http://2", "UrlExists"),
    ("1vs 2v 3l", "learner http://9", "TooManyLearners"),
    ("1vs 2vs 3vsah", "remove 3", "1 2 vote of 1 2"),
    ("1vs 2v 3v 4l@1000", "promote 4", "4 is promoted"),
    ("1vs 2v 3v 4l@899", "promote 4", "LearnerNotReady"),
];

#[test]
fn changes_are_decided_as_written() {
    let strict = STRICT.iter().map(|line| (true, line));
    for (is_strict, (members, words, expected)) in strict.chain(LAX.iter().map(|l| (false, l))) {
        let rules = MembershipRules { is_strict, learners_max: 1 };
        let outcome = decide(&facts(members), rules, change(words), FRESH);
        assert_eq!(written(outcome), *expected, "{words}, of {members}");
    }
}

#[test]
fn a_vote_goes_to_a_started_member_whose_log_is_close() {
    let script = [
        ("1vs 2sa@500", Some(2)),
        ("1vs 2sa@499", None),
        ("1vs 2sa", None),
        ("1vs 2s@1000", None),
        ("1vs 2a@1000", None),
        ("1vs 2lsa@1000", None),
        ("1vs 2vsa@1000 3sa@1000", Some(3)),
    ];
    for (members, due) in script {
        assert_eq!(facts(members).due_vote(), due, "{members}");
    }
    assert_eq!(facts("1vs 2vsah 3sah").with_vote(3).0, BTreeSet::from([1, 2, 3]));
}

#[test]
fn the_successor_is_the_active_voter_with_the_longest_log() {
    let script = [
        ("1vs 2vsa@10 3vsa@20 4sa@30 5vs@40", Some(3)),
        ("1vsa@99 2vsa", Some(2)),
        ("1vsa@99 2vs@99", None),
    ];
    for (members, successor) in script {
        assert_eq!(facts(members).successor(), successor, "{members}");
    }
}
