//! The changes of objects that a request may make.

use serde_json::Value;

use super::super::{World, key};

/// The Secrets with the authorities.
const AUTHORITIES: [&str; 2] = ["main-client-ca", "main-peer-ca"];

impl World {
    /// One change at a time, and numbers and ids that stay.
    pub(super) fn check_status(&mut self, before: &Value, request: &str) {
        let now = &self.checks.status;
        let (old, new) = (&before["change"], &now["change"]);
        let is_same = ["kind", "member", "replaces"].iter().all(|field| old[field] == new[field]);
        let is = |change: &Value, kinds: &[&str]| kinds.iter().any(|it| change["kind"] == *it);
        let goes_on = is(old, &["Add", "Replace"])
            && is(new, &["Remove", "Replace"])
            && old["member"] == new["member"];
        let is_second = !old.is_null() && !new.is_null() && !is_same;
        let is_second = is_second && !goes_on && !is(new, &["Hibernate"]);
        let number = |status: &Value| status["nextMember"].as_i64().unwrap_or(0);
        let goes_back = number(now) < number(before);
        let is_other = !before["clusterId"].is_null() && before["clusterId"] != now["clusterId"];
        let text = format!("{} and {} by {request}", old["text"], new["text"]);
        if is_second {
            self.checks.report("one change at a time", text);
        }
        if goes_back {
            self.checks.report("a name is used once", format!("the numbers go back by {request}"));
        }
        if is_other {
            self.checks.report("the id of a cluster stays", request);
        }
    }

    /// A second authority would divide the members into two camps.
    pub(super) fn check_authorities(&mut self, request: &str) {
        let uid = self.cluster()["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        for name in AUTHORITIES {
            let Some(secret) = self.objects.get(&key("secrets", name)) else { continue };
            let certificate = secret["data"]["tls.crt"].clone();
            let known = self.checks.authorities.entry((uid.clone(), name));
            if *known.or_insert_with(|| certificate.clone()) != certificate {
                self.checks.report("an authority is made once", request);
            }
        }
    }

    /// No volume is deleted that is to be kept.
    pub(super) fn check_claims(&mut self, gone: &[String], request: &str) {
        let is_kept = self.cluster()["spec"]["storage"]["onDelete"] == "Retain";
        if is_kept && !gone.is_empty() {
            self.checks.report("a volume is kept", request);
        }
    }

    /// A name has one record, which stays while the store has the member.
    pub(super) fn check_records(&mut self, gone: &[String], request: &str) {
        let is_known = |name: &String| self.store.members.values().any(|peer| peer.name == *name);
        if gone.iter().any(is_known) {
            self.checks.report("a member of the store has a record", request);
        }
        let mut again = Vec::new();
        for (key, member) in self.objects.all("quoratemembers") {
            let uid = member["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let records = &mut self.checks.used.records;
            let known = records.entry(key.name.clone()).or_insert_with(|| uid.clone());
            if *known != uid {
                *known = uid;
                again.push(key.name.clone());
            }
        }
        if !self.checks.is_late {
            again.iter().for_each(|name| self.checks.report("a name is used once", name));
        }
    }
}
