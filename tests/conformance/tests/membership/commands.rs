//! etcdctl changes the members of a cluster of three, and moves its leadership: with the output
//! that it has with etcd.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quorate_test_support::cluster::Cluster;
use quorate_test_support::{program, wait};

/// How long the members may take to allow a change.
const WITHIN: Duration = Duration::from_secs(60);

/// A cluster of three, and a fourth member that etcdctl adds.
struct Story {
    etcdctl: std::path::PathBuf,
    cluster: Cluster,
    /// Texts that differ between clusters, and what they become.
    names: Vec<(String, String)>,
    /// The outputs of etcdctl.
    said: Vec<String>,
}

impl Story {
    fn begin(program: &Path, etcdctl: &Path) -> Self {
        let mut cluster = Cluster::start_new_in_turn(program, 3, &[]);
        cluster.new_place();
        let mut names = Vec::new();
        for (number, member) in cluster.members.iter().enumerate() {
            names.push((member.address(), format!("<clients of {number}>")));
            let peers = member.peer_address();
            names.push((peers.replace("127.0.0.1", "localhost"), format!("<also of {number}>")));
            names.push((peers, format!("<members of {number}>")));
        }
        for place in 0..3 {
            names.push((hex(cluster.member_id(place)), format!("<id of {place}>")));
        }
        let header = cluster.status(0).header.unwrap();
        names.push((hex(header.cluster_id), "<cluster>".to_owned()));
        Self { etcdctl: etcdctl.to_owned(), cluster, names, said: Vec::new() }
    }

    /// Runs etcdctl at these members; returns whether it succeeded, and what it said, without what
    /// differs between clusters. Lists are sorted, because ids decide their order.
    fn run(&self, places: &[usize], words: &[&str]) -> (bool, String) {
        let addresses = places.iter().map(|place| self.cluster.members[*place].address());
        let endpoints = addresses.collect::<Vec<_>>().join(",");
        let mut command = Command::new(&self.etcdctl);
        let output = command.args(["--endpoints", &endpoints]).args(words).output().unwrap();
        let [out, errors] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
        // etcdctl also logs its retries.
        let errors = errors.lines().filter(|line| line.starts_with("Error:"));
        let mut lines: Vec<String> =
            out.lines().chain(errors).map(|line| self.normalised(line)).collect();
        lines.sort_unstable();
        (output.status.success(), lines.join("\n"))
    }

    fn normalised(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (text, becomes) in &self.names {
            line = line.replace(text, becomes);
        }
        // An id is padded to 16 characters.
        while line.contains("  ") {
            line = line.replace("  ", " ");
        }
        if let Some(list) = line.strip_prefix("ETCD_INITIAL_CLUSTER=\"") {
            let mut members: Vec<&str> = list.trim_end_matches('"').split(',').collect();
            members.sort_unstable();
            line = format!("ETCD_INITIAL_CLUSTER=\"{}\"", members.join(","));
        }
        line
    }

    /// Runs etcdctl, and notes what it said.
    fn tell(&mut self, places: &[usize], words: &[&str]) {
        let (is_done, said) = self.run(places, words);
        self.said.push(format!("{} {is_done}: {said}", self.normalised(&words.join(" "))));
    }

    /// Runs etcdctl until it succeeds, and notes what it said then: a change can be refused while
    /// the members are not healthy for long enough.
    fn succeed(&mut self, words: &[&str]) -> String {
        let leader = self.cluster.leader().0;
        let mut last = String::new();
        let done = wait::within(WITHIN, || {
            let (is_done, said) = self.run(&[leader], words);
            last = said;
            is_done.then_some(())
        });
        assert!(done.is_some(), "{words:?}: {last}");
        self.said.push(format!("{}: {last}", self.normalised(&words.join(" "))));
        last
    }

    /// Adds the fourth member as a learner; returns its id.
    fn add(&mut self) -> String {
        let url = format!("--peer-urls={}", self.cluster.members[3].peer_url());
        // The id is not known yet, so it is replaced afterwards.
        let said = self.succeed(&["member", "add", "m4", &url, "--learner"]);
        let line = said.lines().find(|line| line.starts_with("Member ")).unwrap();
        let id = line.split_whitespace().nth(1).unwrap().to_owned();
        let last = self.said.last_mut().unwrap();
        *last = last.replace(&id, "<id of 3>");
        self.names.push((id.clone(), "<id of 3>".to_owned()));
        // It is added already: this sets its flags.
        let leader = self.cluster.leader().0;
        self.cluster.add_learner(leader, 3);
        self.cluster.members[3].start();
        id
    }

    fn change_members(&mut self) {
        let id = self.add();
        let other = hex(self.cluster.member_id(0));
        self.tell(&[0], &["member", "list"]);
        self.succeed(&["member", "promote", &id]);
        self.tell(&[0], &["member", "promote", &id]);
        let used = format!("--peer-urls={}", self.cluster.members[0].peer_url());
        self.tell(&[0], &["member", "update", &id, &used]);
        let own = self.cluster.members[3].peer_url();
        let urls = format!("--peer-urls={own},{}", own.replace("127.0.0.1", "localhost"));
        self.succeed(&["member", "update", &id, &urls]);
        self.tell(&[1], &["member", "list"]);
        self.succeed(&["member", "remove", &id]);
        for words in [
            &["member", "remove", &id][..],
            &["member", "promote", &id],
            &["member", "update", &id, &urls],
            &["member", "promote", &other],
            &["member", "remove", "1"],
            &["member", "remove", "nonsense"],
            &["member", "add", "m5"],
            &["member", "add", "m5", "--peer-urls=nonsense"],
            &["member", "list"],
        ] {
            self.tell(&[0], words);
        }
    }

    fn move_leader(&mut self) {
        for _ in 0..2 {
            let (leader, _) = self.cluster.leader();
            let next = (leader + 1) % 3;
            let id = hex(self.cluster.member_id(next));
            let (is_done, said) = self.run(&[next], &["move-leader", &id]);
            assert!(!is_done && said.contains("no leader endpoint given"), "{said}");
            let (is_done, said) = self.run(&[0, 1, 2], &["move-leader", &id]);
            let expected =
                format!("Leadership transferred from <id of {leader}> to <id of {next}>");
            assert!(is_done && said == expected, "{said}");
            assert_eq!(self.cluster.leader().0, next);
            // To itself, which changes nothing.
            let (_, said) = self.run(&[0, 1, 2], &["move-leader", &id]);
            self.said.push(said.replace(&format!("<id of {next}>"), "<leader>"));
        }
        for bad in ["1", "nonsense"] {
            self.tell(&[0, 1, 2], &["move-leader", bad]);
        }
    }
}

fn hex(id: u64) -> String {
    format!("{id:x}")
}

#[test]
fn etcdctl_says_the_same_about_changes() {
    let suite = "changes of members by etcdctl";
    let Some(etcd) = program::etcd(suite, "etcd-3.7") else { return };
    let Some(etcdctl) = program::etcd(suite, "etcdctl") else { return };
    let [ours, theirs] = [program::quorate(), etcd].map(|program| {
        let mut story = Story::begin(&program, &etcdctl);
        story.move_leader();
        story.change_members();
        story.said
    });
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}
