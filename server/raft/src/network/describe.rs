//! Asking a member who it is, before one belongs to its cluster.

use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::peer as pb;
use tonic::Status;

use super::connector::stranger;
use crate::ground::connection::Dial;

/// What a member says of itself and of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The cluster it belongs to.
    pub cluster_id: u64,
    /// Its id.
    pub member_id: u64,
    /// Whether it leads: then it knows of every change of the members.
    pub leads: bool,
    /// The members that it knows of, by id; none while it waits to hear from its cluster.
    pub members: Vec<DescribedMember>,
}

/// A member as another one describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has run.
    pub name: String,
    /// Where other members reach it.
    pub peer_urls: Vec<String>,
    /// Of the data directory with which it runs; 0 until it has run.
    pub incarnation: u64,
}

impl Description {
    /// The member with this id.
    pub fn member(&self, id: u64) -> Option<&DescribedMember> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// Asks the member at a peer URL who it is, whatever cluster it belongs to.
///
/// # Errors
/// Why there is no answer within this time, for people.
pub async fn describe(
    dial: Arc<dyn Dial>,
    url: &str,
    within: Duration,
) -> Result<Description, String> {
    let mut client = stranger(dial, url, within);
    let asked = tokio::time::timeout(within, client.describe(pb::DescribeRequest {}));
    let reply = match asked.await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Err(reason(&status)),
        Err(_) => return Err(format!("no answer within {within:?}")),
    };
    let leads = reply.leader == reply.member_id;
    let members = reply.members.into_iter().map(|member| DescribedMember {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        incarnation: member.incarnation,
    });
    let (cluster_id, member_id) = (reply.cluster_id, reply.member_id);
    Ok(Description { cluster_id, member_id, leads, members: members.collect() })
}

/// What lies at the bottom of a failure: what tonic says itself is "transport error".
fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
