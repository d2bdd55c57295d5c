//! The store, over gRPC with TLS.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::StatusCode;
use jiff::Timestamp;
use quorate_crd::names::{PORT_CLIENT, PORT_METRICS};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::cluster_client::ClusterClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, metadata::MetadataValue};

use super::{Address, Certificates, Error, Identity, List, Listed, Members, Request, Status, http};
use crate::error::causes;

/// Longest time to connect to a member, with the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for a member's answer to a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time for a change: the store may have to reach a quorum, and a leader to hand over.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The metadata key of an answer's configuration index.
const CONFIGURATION: &str = "quorate-configuration";
/// The metadata key by which a change names the configuration index that it expects.
const EXPECTED_CONFIGURATION: &str = "quorate-expected-configuration";

/// Refusals that pass by themselves. After each change of the members, the store refuses the next
/// one until its members have been connected for some seconds.
const PASSING: [&str; 6] = [
    "etcdserver: unhealthy cluster",
    "etcdserver: can only promote a learner member which is in sync with leader",
    "etcdserver: the configuration of the members is not the expected one",
    "etcdserver: leader changed",
    "etcdserver: no leader",
    "etcdserver: not leader",
];

/// The store, over gRPC with TLS.
///
/// Each call opens a connection of its own. Calls are few. So every call uses the newest
/// certificates, and no call uses a connection to a pod that is gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grpc;

impl Members for Grpc {
    fn status<'a>(
        &'a self,
        identity: &'a Identity,
        at: &'a Address,
    ) -> BoxFuture<'a, Result<Status, Error>> {
        status(identity, at).boxed()
    }

    fn list<'a>(
        &'a self,
        identity: &'a Identity,
        at: &'a Address,
    ) -> BoxFuture<'a, Result<List, Error>> {
        list(identity, at).boxed()
    }

    fn reread<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, Result<Certificates, Error>> {
        reread(at).boxed()
    }

    fn change<'a>(
        &'a self,
        identity: &'a Identity,
        at: &'a Address,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<(), Error>> {
        change(identity, at, request).boxed()
    }
}

async fn connect(identity: &Identity, at: &Address, timeout: Duration) -> Result<Channel, Error> {
    let certificate = &identity.certificate;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.authority))
        .identity(tonic::transport::Identity::from_pem(certificate, &identity.key.0))
        .domain_name(&at.host);
    let address = SocketAddr::new(at.ip, PORT_CLIENT);
    let unreachable = |error: tonic::transport::Error| {
        Error::Unreachable(format!("{} at {address}: {}", at.member, causes(&error)))
    };
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(unreachable)?;
    let endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(timeout);
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await;
    let connecting = connecting.map_err(|_| Error::Unreachable(format!("{address}: timed out")))?;
    connecting.map_err(unreachable)
}

/// The error of a failed call, with the name of the member.
fn failed(at: &Address, status: &tonic::Status) -> Error {
    let text = format!("{}: {}", at.member, status.message());
    match status.code() {
        _ if PASSING.contains(&status.message()) => Error::NotYet(text),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown => {
            Error::Unreachable(text)
        }
        _ => Error::Refused(text),
    }
}

async fn status(identity: &Identity, at: &Address) -> Result<Status, Error> {
    let metrics = SocketAddr::new(at.ip, PORT_METRICS);
    let (answer, ready, version, tls) = tokio::join!(
        maintenance_status(identity, at),
        http::get(metrics, "/readyz"),
        http::get(metrics, "/version"),
        http::get(metrics, "/tls"),
    );
    let answer = answer?;
    let header = answer.header.unwrap_or_default();
    let alarms = |kind: &str| {
        let text = format!("memberID:{} alarm:{kind}", header.member_id);
        answer.errors.contains(&text)
    };
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(Status {
        id: header.member_id,
        cluster_id: header.cluster_id,
        version: version.map_or_else(|_| String::new(), |(_, page)| own_version(&page)),
        leader: answer.leader,
        term: answer.raft_term,
        committed: answer.raft_index,
        applied: answer.raft_applied_index,
        is_ready: ready.is_ok_and(|(status, _)| status == StatusCode::OK),
        size: number(answer.db_size),
        quota: number(answer.db_size_quota),
        no_space: alarms("NOSPACE"),
        corrupt: alarms("CORRUPT"),
        certificates: tls.map_or_else(|_| Certificates::default(), |(_, page)| in_use(&page)),
    })
}

async fn reread(at: &Address) -> Result<Certificates, Error> {
    let (status, page) = http::post(SocketAddr::new(at.ip, PORT_METRICS), "/tls/reload").await?;
    if status != StatusCode::OK {
        return Err(Error::Refused(format!("{}: reread the certificates: {status}", at.member)));
    }
    Ok(in_use(&page))
}

/// The certificates of the page `/tls`.
fn in_use(page: &[u8]) -> Certificates {
    let page: serde_json::Value = serde_json::from_slice(page).unwrap_or_default();
    let mut certificates = Certificates::default();
    for role in page.as_object().into_iter().flat_map(|roles| roles.values()) {
        let expires: Option<Timestamp> =
            role["leaf"]["notAfter"].as_str().and_then(|time| time.parse().ok());
        certificates.expire.extend(expires);
        let problem = || role["problem"].as_str().map(str::to_owned);
        certificates.problem = certificates.problem.or_else(problem);
    }
    certificates
}

async fn maintenance_status(
    identity: &Identity,
    at: &Address,
) -> Result<pb::StatusResponse, Error> {
    let channel = connect(identity, at, ANSWER_TIMEOUT).await?;
    let answer = MaintenanceClient::new(channel).status(pb::StatusRequest {}).await;
    Ok(answer.map_err(|status| failed(at, &status))?.into_inner())
}

/// Our own version, of the page `/version`.
fn own_version(page: &[u8]) -> String {
    let page: serde_json::Value = serde_json::from_slice(page).unwrap_or_default();
    page["quorate"].as_str().unwrap_or_default().to_owned()
}

async fn list(identity: &Identity, at: &Address) -> Result<List, Error> {
    let channel = connect(identity, at, ANSWER_TIMEOUT).await?;
    let request = pb::MemberListRequest { linearizable: true };
    let response = ClusterClient::new(channel).member_list(request).await;
    let response = response.map_err(|status| failed(at, &status))?;
    let configuration = response.metadata().get(CONFIGURATION);
    let configuration = configuration.and_then(|value| value.to_str().ok()?.parse().ok());
    let configuration = configuration.ok_or_else(|| {
        Error::Refused(format!("{}: its member list has no configuration index", at.member))
    })?;
    let response = response.into_inner();
    let members = response.members.into_iter().map(|member| Listed {
        id: member.id,
        name: member.name,
        peer_url: member.peer_urls.into_iter().next().unwrap_or_default(),
        is_learner: member.is_learner,
    });
    Ok(List {
        cluster_id: response.header.unwrap_or_default().cluster_id,
        configuration,
        members: members.collect(),
    })
}

async fn change(identity: &Identity, at: &Address, request: &Request) -> Result<(), Error> {
    let channel = connect(identity, at, CHANGE_TIMEOUT).await?;
    let mut cluster = ClusterClient::new(channel.clone());
    let done = match request {
        Request::AddLearner { peer_url, configuration } => {
            let message =
                pb::MemberAddRequest { peer_urls: vec![peer_url.clone()], is_learner: true };
            cluster.member_add(expecting(message, *configuration)).await.map(|_| ())
        }
        Request::Promote { id, configuration } => {
            let message = pb::MemberPromoteRequest { id: *id };
            cluster.member_promote(expecting(message, *configuration)).await.map(|_| ())
        }
        Request::Remove { id, configuration } => {
            let message = pb::MemberRemoveRequest { id: *id };
            cluster.member_remove(expecting(message, *configuration)).await.map(|_| ())
        }
        Request::MoveLeader { to } => {
            let message = pb::MoveLeaderRequest { target_id: *to };
            MaintenanceClient::new(channel).move_leader(message).await.map(|_| ())
        }
    };
    done.map_err(|status| failed(at, &status))
}

/// A request that the store refuses unless its configuration index is this one.
fn expecting<M>(message: M, configuration: u64) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert(EXPECTED_CONFIGURATION, MetadataValue::from(configuration));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_version_is_read_from_the_page() {
        assert_eq!(own_version(br#"{"etcdserver":"3.7.3","quorate":"0.1.0"}"#), "0.1.0");
        assert_eq!(own_version(br#"{"etcdserver":"3.7.3"}"#), "");
        assert_eq!(own_version(b"not json"), "");
    }

    #[test]
    fn the_certificates_in_use_are_those_of_all_roles() {
        let page = br#"{
            "client-server": {"leaf": {"fingerprint": "a", "notAfter": "2027-01-15T08:00:00Z"},
                "trust": [{"notAfter": "2037-01-15T08:00:00Z"}], "problem": null},
            "peer-client": {"leaf": null, "trust": [], "problem": "peer.key: not a key"},
            "peer-server": {"leaf": {"notAfter": "2027-01-16T08:00:00Z"}, "trust": []}}"#;
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let expected = Certificates {
            expire: vec![time("2027-01-15T08:00:00Z"), time("2027-01-16T08:00:00Z")],
            problem: Some("peer.key: not a key".to_owned()),
        };
        assert_eq!(in_use(page), expected);
        assert_eq!(in_use(b"404 page not found"), Certificates::default());
    }

    #[test]
    fn a_refusal_that_passes_by_itself_is_told_from_others() {
        let at = Address {
            member: "main-1".to_owned(),
            host: String::new(),
            ip: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let failed = |code, text: &str| failed(&at, &tonic::Status::new(code, text)).to_string();
        assert_eq!(
            failed(Code::Unavailable, "etcdserver: unhealthy cluster"),
            "not yet: main-1: etcdserver: unhealthy cluster"
        );
        assert_eq!(
            failed(Code::FailedPrecondition, "etcdserver: Peer URLs already exists"),
            "refused: main-1: etcdserver: Peer URLs already exists"
        );
        assert_eq!(
            failed(Code::Unavailable, "etcdserver: request timed out"),
            "no answer: main-1: etcdserver: request timed out"
        );
    }

    #[test]
    fn a_change_names_the_configuration_that_it_expects() {
        let request = expecting(pb::MemberRemoveRequest { id: 1 }, 42);
        assert_eq!(request.metadata().get(EXPECTED_CONFIGURATION).unwrap(), "42");
    }
}
