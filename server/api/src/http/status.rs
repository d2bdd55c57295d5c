//! The status page at `/`, and its data at `/status`. `--status-page=false` turns both off.
//!
//! The page is one file without external resources, the same for all users. It asks this member for
//! the data once a second. If the data are only for known users, the page asks for a user and a
//! password, and logs in.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use quorate_proto::etcdserverpb as pb;
use quorate_raft::MemberInfo;
use serde_json::{Value, json};

use super::{Page, Pages, method_not_allowed, page};
use crate::version::{ETCD_VERSION, VERSION};

const HTML: &str = include_str!("status.html");
/// The rights of the page: to run its own script with its own style, both named by their SHA-256,
/// and to ask this member.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'; \
    style-src 'sha256-wKMLpn+E0eR7Fg0slqNqREghAEB9YkqQ2ZPU6P5qwbo='; \
    script-src 'sha256-jWSpEAaEn6ibIx4b2wA+Rs2fTuBbvd0IQQjjHjd5Fqo='";
/// Approximate bytes of the data for a cluster of a few members.
const DATA_BYTES: usize = 4 << 10;

/// Whether `path` is of the status page.
pub(crate) fn has(path: &str) -> bool {
    matches!(path, "/" | "/status")
}

/// Whether `path` is of the data, which say something of the cluster.
pub(crate) fn is_data(path: &str) -> bool {
    path == "/status"
}

/// The approximate bytes of the page at `path`.
pub(crate) fn size_about(path: &str) -> usize {
    if path == "/" { HTML.len() } else { DATA_BYTES }
}

fn id(id: u64) -> String {
    format!("{id:x}")
}

fn member(member: MemberInfo) -> Value {
    let MemberInfo { id: number, name, peer_urls, client_urls, is_learner } = member;
    json!({
        "id": id(number),
        "name": name,
        "peerUrls": peer_urls,
        "clientUrls": client_urls,
        "isLearner": is_learner,
    })
}

fn alarm(alarm: pb::AlarmMember) -> Value {
    let kind = pb::AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
    json!({ "member": id(alarm.member_id), "alarm": kind })
}

impl Pages {
    /// Answers a request for a path of the status page.
    pub(crate) fn status(&self, method: &Method, path: &str) -> Page {
        if method != Method::GET {
            return method_not_allowed("GET");
        }
        let mut page = if path == "/" {
            page(StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(HTML.as_bytes()))
        } else {
            page(StatusCode::OK, "application/json", self.data().to_string())
        };
        let headers = page.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        page
    }

    /// The state of this member, without keys and values. Ids are hexadecimal, as etcdctl shows
    /// them.
    fn data(&self) -> Value {
        let this = self.server.member();
        let raft = this.status_now();
        let sizes = this.sizes();
        let alarms = this.store().tables(|tables| tables.raised(0));
        let quota = this.quota().limit();
        json!({
            "cluster": id(this.identity().cluster_id),
            "member": id(this.identity().member_id),
            "version": VERSION,
            "etcdVersion": ETCD_VERSION,
            "leader": raft.leader.map(id),
            "term": raft.term,
            "committedIndex": this.committed(),
            "appliedIndex": this.progress().applied(),
            "revision": this.store().revision(),
            "compactedRevision": this.store().compacted().max(0),
            "inUseBytes": sizes.in_use,
            "fileBytes": sizes.allocated,
            "quotaBytes": (quota > 0).then_some(quota),
            "alarms": alarms.into_iter().map(alarm).collect::<Vec<_>>(),
            "members": this.members().members.into_iter().map(member).collect::<Vec<_>>(),
        })
    }
}
