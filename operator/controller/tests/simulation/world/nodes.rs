//! The nodes: they place pods, start and stop the members in them, and report the state of the
//! pods.

use std::collections::BTreeSet;

use jiff::Timestamp;
use quorate_controller::members::Certificates;
use serde_json::{Value, json};

use super::{World, key};
use crate::api::Key;

/// The program in a pod.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// The name of its member.
    pub(crate) member: String,
    pub(crate) address: String,
    pub(crate) version: String,
    /// The uid of the claim of its volume.
    volume: String,
    /// When the certificates expire that it has read.
    pub(super) expires: Option<Timestamp>,
    /// The id of its member, once it knows it.
    id: Option<u64>,
    /// The reason code of its last exit.
    pub(super) exit: Option<&'static str>,
}

/// A flag with which no program starts.
pub(crate) const BAD_FLAG: (&str, &str) = ("max-txn-ops", "none");

impl Process {
    /// The id of the member that it serves as, if it runs.
    pub(crate) fn serves(&self) -> Option<u64> {
        self.id.filter(|_| self.exit.is_none())
    }

    /// Its report about its certificates.
    pub(super) fn certificates(&self) -> Certificates {
        Certificates { expire: self.expires.into_iter().collect(), problem: None }
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The value of a flag in the arguments of a pod's first container.
fn flag<'a>(pod: &'a Value, name: &str) -> &'a str {
    let args = pod["spec"]["containers"][0]["args"].as_array().into_iter().flatten();
    let mut found = args.filter_map(|arg| arg.as_str()?.strip_prefix(name)?.strip_prefix('='));
    found.next_back().unwrap_or_default()
}

impl World {
    /// Does one step for each volume and each pod.
    pub(super) fn run_nodes(&mut self) {
        self.bind_claims();
        let pods: Vec<(Key, Value)> =
            self.objects.all("pods").map(|(key, pod)| (key.clone(), pod.clone())).collect();
        let uids: BTreeSet<&str> = pods.iter().map(|(_, pod)| text(pod, "/metadata/uid")).collect();
        self.processes.retain(|uid, _| uids.contains(uid.as_str()));
        for (key, pod) in &pods {
            let node = text(pod, "/spec/nodeName");
            if self.lost_nodes.contains(node) {
                self.processes.remove(text(pod, "/metadata/uid"));
                self.evict(key, pod);
            } else if node.is_empty() {
                self.place(key, pod);
            } else if !pod["metadata"]["deletionTimestamp"].is_null() {
                self.processes.remove(text(pod, "/metadata/uid"));
                self.objects.remove(key);
            } else {
                self.run(key, pod);
            }
        }
    }

    /// Gives claims their volumes, and the sizes that they ask for.
    fn bind_claims(&mut self) {
        let claims = self.objects.all("persistentvolumeclaims");
        let claims: Vec<Key> = claims.map(|(key, _)| key.clone()).collect();
        for key in claims {
            self.objects.edit(&key, |claim| {
                if text(claim, "/status/phase") != "Lost" {
                    claim["spec"]["volumeName"] = claim["metadata"]["uid"].clone();
                    let storage = &claim["spec"]["resources"]["requests"]["storage"];
                    claim["status"] =
                        json!({ "phase": "Bound", "capacity": { "storage": storage } });
                }
            });
        }
    }

    /// Places a pod on a node of its own, if it can run.
    fn place(&mut self, key: &Key, pod: &Value) {
        let claim = self.claim(pod);
        if claim.is_some_and(|claim| text(claim, "/status/phase") == "Bound") {
            self.starts += 1;
            let node = format!("node-{}", self.starts);
            self.report_node(&node, true);
            self.objects.edit(key, |pod| pod["spec"]["nodeName"] = json!(node));
        }
    }

    /// Marks the pod of a lost node as Kubernetes does: its deletion is asked for, and nothing
    /// carries it out.
    fn evict(&mut self, key: &Key, pod: &Value) {
        if pod["metadata"]["deletionTimestamp"].is_null() {
            self.objects.end(key, None);
        }
    }

    /// The claim that a pod uses.
    fn claim(&self, pod: &Value) -> Option<&Value> {
        let volumes = pod["spec"]["volumes"].as_array()?;
        let name = volumes.iter().find_map(|it| it["persistentVolumeClaim"]["claimName"].as_str());
        self.objects.get(&key("persistentvolumeclaims", name?))
    }

    /// Starts the program of a pod, or starts it again.
    fn run(&mut self, key: &Key, pod: &Value) {
        let uid = text(pod, "/metadata/uid").to_owned();
        let secrets = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut secrets = secrets.filter_map(|it| it["secret"]["secretName"].as_str());
        let secret = secrets.next_back();
        if secret.is_some_and(|it| self.objects.get(&crate::world::key("secrets", it)).is_none()) {
            return;
        }
        if !self.processes.contains_key(&uid) {
            let Some(claim) = self.claim(pod) else { return };
            let process = Process {
                member: key.name.clone(),
                address: address(text(pod, "/spec/nodeName")),
                version: pod["metadata"]["labels"]["app.kubernetes.io/version"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                volume: text(claim, "/metadata/uid").to_owned(),
                expires: self.expiry(&key.name),
                id: None,
                exit: None,
            };
            self.processes.insert(uid.clone(), process);
        }
        let mut process = self.processes[&uid].clone();
        let (name, value) = BAD_FLAG;
        if flag(pod, &format!("--{name}")) == value {
            process.exit = Some("flags");
        } else if self.is_lost(&process.volume) {
            process.exit = Some("damaged");
        } else {
            self.identify(&mut process, pod);
        }
        self.processes.insert(uid, process);
    }

    /// When the certificates of a member expire, as its Secret says.
    fn expiry(&self, member: &str) -> Option<Timestamp> {
        let secret = self.objects.get(&key("secrets", member))?;
        secret["metadata"]["annotations"]["quorate.dev/expires"].as_str()?.parse().ok()
    }

    /// Lets a process read its certificates again: the process does not do that by itself.
    pub(super) fn reread(&mut self, address: &str) -> Certificates {
        self.rereads += 1;
        let (process, _) = self.process(address).expect("it was reached");
        let expires = self.expiry(&process.member);
        let mut processes = self.processes.values_mut();
        let process = processes.find(|it| it.address == address).expect("it was reached");
        process.expires = expires;
        process.certificates()
    }

    /// The first member whose process has other certificates than its Secret.
    pub(crate) fn late_reader(&self) -> Option<&str> {
        let mut processes = self.processes.values();
        let late = processes.find(|it| it.expires != self.expiry(&it.member));
        late.map(|process| process.member.as_str())
    }

    fn is_lost(&self, volume: &str) -> bool {
        let mut claims = self.objects.all("persistentvolumeclaims");
        claims.any(|(_, claim)| {
            text(claim, "/metadata/uid") == volume && text(claim, "/status/phase") == "Lost"
        })
    }

    /// Finds out which member a program is, as the real one does at its start.
    fn identify(&mut self, process: &mut Process, pod: &Value) {
        let url = flag(pod, "--initial-advertise-peer-urls");
        if let Some(id) = self.data.get(&process.volume) {
            process.id = Some(*id);
            process.exit = self.store.removed.contains(id).then_some("removed");
        } else if flag(pod, "--initial-cluster-state") == "new" {
            self.checks.found(flag(pod, "--initial-cluster-token"));
            let id = self.store.found(&process.member, url, &process.volume);
            self.start(process, id);
        } else {
            let known = self.store.members.iter().find(|(_, peer)| peer.url == url);
            match known.map(|(id, peer)| (*id, peer.volume.clone())) {
                Some((id, volume)) if volume.is_empty() => self.start(process, id),
                Some(_) => process.exit = Some("other-data"),
                None => process.exit = Some("removed"),
            }
        }
    }

    /// Starts a member for the first time on a volume.
    fn start(&mut self, process: &mut Process, id: u64) {
        self.data.insert(process.volume.clone(), id);
        let peer = self.store.members.get_mut(&id).expect("a member of the store");
        peer.name.clone_from(&process.member);
        peer.volume.clone_from(&process.volume);
        process.id = Some(id);
        process.exit = None;
    }

    /// Writes the observations of the nodes into the status of their pods.
    pub(super) fn report_pods(&mut self) {
        let pods: Vec<(Key, String)> = self
            .objects
            .all("pods")
            .map(|(key, pod)| (key.clone(), text(pod, "/metadata/uid").to_owned()))
            .collect();
        for (key, uid) in pods {
            let status = match self.processes.get(&uid) {
                Some(process) => self.status(process),
                None => {
                    self.objects.edit(&key, |pod| ready(pod, false));
                    continue;
                }
            };
            self.objects.edit(&key, |pod| {
                let phase = pod["status"]["conditions"].clone();
                pod["status"] = status.clone();
                pod["status"]["conditions"] = phase;
                let is_ready = status["containerStatuses"][0]["ready"] == true;
                ready(pod, is_ready);
            });
        }
    }

    fn status(&self, process: &Process) -> Value {
        let is_ready = self.serving(process).is_some_and(|id| self.is_ready(id));
        let state = match process.exit {
            None => json!({ "running": {} }),
            Some(reason) => json!({ "terminated": {
                "exitCode": code(reason),
            }}),
        };
        json!({
            "phase": "Running",
            "podIP": process.address,
            "containerStatuses": [{
                "name": "quorate", "image": "", "imageID": "", "restartCount": 0,
                "ready": is_ready, "state": state,
            }],
        })
    }

    /// Whether a member votes and serves linearizable reads.
    pub(super) fn is_ready(&self, id: u64) -> bool {
        let peer = self.store.members.get(&id);
        self.store.leader != 0 && peer.is_some_and(|peer| peer.votes && peer.active > 0)
    }

    /// The process that answers at an address.
    pub(super) fn process(&self, address: &str) -> Option<(&Process, u64)> {
        let process = self.processes.values().find(|it| it.address == address)?;
        Some((process, self.serving(process)?))
    }

    /// The id of the member that a process serves as, if it answers.
    pub(super) fn serving(&self, process: &Process) -> Option<u64> {
        process.serves().filter(|_| !self.frozen.contains(&process.member))
    }
}

/// The address of the only pod that a node ever runs.
fn address(node: &str) -> String {
    let number = node.rsplit('-').next().and_then(|it| it.parse::<u32>().ok());
    let number = number.expect("the nodes are numbered");
    format!("10.0.{}.{}", number / 250, number % 250 + 1)
}

/// The exit status for a reason.
fn code(reason: &str) -> i32 {
    match reason {
        "removed" => 10,
        "other-data" => 11,
        "damaged" => 12,
        _ => 1,
    }
}

/// Writes the condition `Ready` of a pod.
fn ready(pod: &mut Value, is_ready: bool) {
    let status = if is_ready { "True" } else { "False" };
    pod["status"]["conditions"] = json!([{ "type": "Ready", "status": status }]);
}
