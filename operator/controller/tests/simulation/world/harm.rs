//! The harm that users, nodes and other programs do to a cluster.

use serde_json::{Value, json};

use super::store::Peer;
use super::{CLUSTER, NAMESPACE, World, key};
use crate::api::Key;

impl World {
    /// A user changes a field of the spec.
    pub(crate) fn set(&mut self, field: &str, value: Value) {
        self.edit(|cluster| cluster["spec"][field] = value);
    }

    /// A user asks for another number of members.
    pub(crate) fn resize(&mut self, members: i32) {
        self.set("members", json!(members));
    }

    /// The processes of a member hang, or are cut off.
    pub(crate) fn freeze(&mut self, member: &str) {
        self.frozen.insert(member.to_owned());
    }

    /// All processes go on.
    pub(crate) fn thaw(&mut self) {
        self.frozen.clear();
    }

    /// Another program deletes an object of the cluster, if it is there.
    pub(crate) fn lose(&mut self, plural: &'static str, name: &str) {
        let key = key(plural, name);
        if self.objects.get(&key).is_some() {
            self.objects.end(&key, None);
            self.observe(None);
        }
    }

    /// Another program takes an object away, until [`Self::restore`].
    pub(crate) fn hide(&mut self, plural: &'static str, name: &str) {
        let key = key(plural, name);
        let object = self.objects.get(&key).expect("the object is there").clone();
        self.hidden.push((key.clone(), object));
        self.objects.remove(&key);
        self.observe(None);
    }

    /// Puts back the objects that were taken away.
    pub(crate) fn restore(&mut self) {
        for (key, object) in std::mem::take(&mut self.hidden) {
            self.objects.write(&key, object);
        }
        self.observe(None);
    }

    /// Another program deletes the record of a member. It is made again with the same name.
    pub(crate) fn forget(&mut self, member: &str) {
        self.checks.used.records.remove(member);
        self.lose("quoratemembers", member);
    }

    /// Another program removes the cluster's status.
    pub(crate) fn lose_status(&mut self) {
        self.edit(|cluster| cluster["status"] = Value::Null);
    }

    /// Another program removes a member from the store.
    pub(crate) fn expel(&mut self, member: &str) {
        let found = self.store.members.iter().find(|(_, peer)| peer.name == member);
        let (id, _) = found.expect("a member of the store");
        self.store.drop_member(*id);
    }

    /// Another program adds a member to the store.
    pub(crate) fn intrude(&mut self) {
        self.store.add(Peer {
            url: "https://elsewhere:2380".to_owned(),
            is_learner: true,
            ..Peer::default()
        });
    }

    /// The members of other programs are removed from the store.
    pub(crate) fn clean(&mut self) {
        let ours = format!(".{CLUSTER}-peer.{NAMESPACE}.svc");
        let strangers = self.store.members.iter().filter(|(_, peer)| !peer.url.contains(&ours));
        let strangers: Vec<u64> = strangers.map(|(id, _)| *id).collect();
        strangers.into_iter().for_each(|id| self.store.drop_member(id));
    }

    /// The node of a member is cut off for good.
    pub(crate) fn lose_node(&mut self, member: &str) {
        let pod = self.objects.get(&key("pods", member)).expect("the member has a pod");
        let node = pod["spec"]["nodeName"].as_str().expect("the pod runs").to_owned();
        self.report_node(&node, false);
        self.lost_nodes.insert(node);
    }

    /// Writes whether a node answers Kubernetes.
    pub(super) fn report_node(&mut self, name: &str, is_ready: bool) {
        let status = if is_ready { "True" } else { "Unknown" };
        let key = Key { plural: "nodes", namespace: String::new(), name: name.to_owned() };
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": status }] },
        });
        self.objects.write(&key, node);
    }

    /// The volume of a member is lost.
    pub(crate) fn lose_volume(&mut self, member: &str) {
        let claim = key("persistentvolumeclaims", &format!("data-{member}"));
        self.objects.edit(&claim, |claim| claim["status"] = json!({ "phase": "Lost" }));
    }
}
