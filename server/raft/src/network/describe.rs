//! Asks a server for its identity and its members, without being in its cluster.

use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::peer as pb;
use tonic::Status;

use super::connector::client_at;
use crate::ground::connection::Dial;

/// A member's description of itself and its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The id of its cluster.
    pub cluster_id: u64,
    /// Its id.
    pub member_id: u64,
    /// Whether it leads: a leader knows every membership change.
    pub leads: bool,
    /// The members that it knows, sorted by id; empty until it hears from its cluster.
    pub members: Vec<DescribedMember>,
}

/// A member as another one describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty before its first start.
    pub name: String,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// Incarnation of its data directory; 0 before its first start.
    pub incarnation: u64,
}

impl Description {
    /// The member with this id.
    pub fn member(&self, id: u64) -> Option<&DescribedMember> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// Asks the member at a peer URL for its description. It may belong to any cluster.
///
/// # Errors
/// There is no reply within the given time. The text says why.
pub async fn describe(
    dial: Arc<dyn Dial>,
    url: &str,
    within: Duration,
) -> Result<Description, String> {
    let mut client = client_at(dial, url, within);
    let asked = tokio::time::timeout(within, client.describe(pb::DescribeRequest {}));
    let reply = match asked.await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Err(root_cause(&status)),
        Err(_) => return Err(format!("no answer within {within:?}")),
    };
    let leads = reply.leader == reply.member_id;
    let members = reply.members.into_iter().map(|member| DescribedMember {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        incarnation: member.incarnation,
    });
    let cluster_id = reply.cluster_id;
    let member_id = reply.member_id;
    Ok(Description { cluster_id, member_id, leads, members: members.collect() })
}

/// The root cause of a failed call, as text. tonic's own message is only "transport error".
pub fn root_cause(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
