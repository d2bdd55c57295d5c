//! The small state besides the keys: leases, alarms, members' attributes, users and roles, all in
//! memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_proto::etcdserverpb::{AlarmMember, AlarmType};

use crate::auth::Auth;

/// A lease. The leader keeps its deadline; the state has only the granted TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Granted time to live in seconds.
    pub ttl: i64,
}

/// Attributes that a member publishes when it has started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes {
    /// Name of the member.
    pub name: String,
    /// URLs for clients.
    pub client_urls: Vec<String>,
    /// Incarnation of the data directory. A directory that was lost and made again has a different
    /// one.
    pub incarnation: u64,
}

/// An alarm: its type and the id of its member. Alarms sort by type first, as in listings.
pub type Alarm = (i32, u64);

/// The small tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Leases by id.
    pub leases: BTreeMap<i64, Lease>,
    /// Raised alarms.
    pub alarms: BTreeSet<Alarm>,
    /// Attributes by member id; a member that never started has none.
    pub members: BTreeMap<u64, MemberAttributes>,
    /// Ids of removed members. An id is never used again.
    pub removed: BTreeSet<u64>,
    /// Users and roles. Shared, because a flush writes them while they change.
    pub auth: Arc<Auth>,
}

impl Tables {
    /// Whether an alarm of this type is raised for any member.
    pub fn is_raised(&self, alarm: AlarmType) -> bool {
        let kind = alarm as i32;
        self.alarms.range((kind, 0)..=(kind, u64::MAX)).next().is_some()
    }

    /// The raised alarms of a type; for `NONE`, those of every type.
    pub fn raised(&self, of: i32) -> Vec<AlarmMember> {
        let asked =
            self.alarms.iter().filter(|(kind, _)| of == AlarmType::None as i32 || *kind == of);
        asked
            .map(|(alarm, member_id)| AlarmMember { member_id: *member_id, alarm: *alarm })
            .collect()
    }

    /// A CRC-32C over all tables that continues from `seed`.
    pub fn checksum(&self, seed: u32) -> u32 {
        let mut crc = seed;
        let mut add = |bytes: &[u8]| crc = crc32c::crc32c_append(crc, bytes);
        for (id, lease) in &self.leases {
            // Members of earlier versions add a third number, which is always 0.
            for number in [*id, lease.ttl, 0] {
                add(&number.to_be_bytes());
            }
        }
        for (alarm, member) in &self.alarms {
            add(&alarm.to_be_bytes());
            add(&member.to_be_bytes());
        }
        for (id, member) in &self.members {
            add(&id.to_be_bytes());
            add(member.name.as_bytes());
            member.client_urls.iter().for_each(|url| add(url.as_bytes()));
            add(&member.incarnation.to_be_bytes());
        }
        for id in &self.removed {
            add(&id.to_be_bytes());
        }
        // Adds nothing if it is empty: members of versions without users then compute the same.
        add(&self.auth.to_bytes());
        crc
    }
}
