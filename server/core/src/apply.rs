//! Applying committed commands, which is the only way to change the state.
//!
//! `apply` is a function of the state and the command alone. A refusal leaves the state unchanged
//! except for the log position; a [`Fault`] means that the member must stop.

use bytes::Bytes;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse,
    DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
    LeaseRevokeResponse, PutRequest, PutResponse, TxnRequest, TxnResponse,
};

use crate::auth::{AuthCommand, Authenticate, Needs, Origin};
use crate::command::{LeaseExpire, MemberPublish};
use crate::limits::{LEASE_TTL_SECONDS_MAX, STRANGERS_ALARMS_MAX};
use crate::mvcc::OptionalContext;
use crate::store::{LogPosition, Store};
use crate::tables::{Lease, MemberAttributes};
use crate::txn::header;
use crate::{Command, Error, Fault, Refusal, quota};

/// The answer to a command. Headers have only the revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Answer to [`Command::Put`].
    Put(PutResponse),
    /// Answer to [`Command::DeleteRange`].
    DeleteRange(DeleteRangeResponse),
    /// Answer to [`Command::Txn`].
    Txn(TxnResponse),
    /// Answer to [`Command::Compact`]: history below the revision can no longer be read, but its
    /// space is not freed yet.
    Compact(CompactionResponse),
    /// Answer to [`Command::LeaseGrant`].
    LeaseGrant(LeaseGrantResponse),
    /// Answer to [`Command::LeaseRevoke`].
    LeaseRevoke(LeaseRevokeResponse),
    /// Answer to [`Command::Alarm`].
    Alarm(AlarmResponse),
    /// Answer to [`Command::Authenticate`]: the token.
    Token(String),
    /// Answer to a command without a response message.
    Done,
}

/// A result of a command, other than its writes, that other parts of the member act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A lease was granted.
    LeaseGranted {
        /// Id of the lease.
        id: i64,
        /// Its TTL in seconds.
        ttl: i64,
    },
    /// A lease was revoked or has expired.
    LeaseRevoked {
        /// Id of the lease.
        id: i64,
    },
    /// History below this revision can be deleted.
    Compacted {
        /// The compacted revision.
        revision: i64,
    },
    /// An alarm was raised or disarmed.
    Alarms,
    /// A token was given.
    LoggedIn {
        /// The token.
        token: String,
        /// Name of the user.
        user: String,
    },
    /// The tokens of a user, or of all users, ended.
    LoggedOut {
        /// Name of the user; `None` for all.
        user: Option<String>,
    },
}

/// The result of applying a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The answer, the same on every member.
    pub reply: Result<Reply, Refusal>,
    /// Results that other parts of the member act on.
    pub effects: Vec<Effect>,
    /// Approximate bytes that the command may have added, by [`quota::cost`]; 0 for a refusal.
    pub cost: u64,
}

impl Applied {
    fn plain(reply: Reply) -> Result<Self, Error> {
        Ok(Self { reply: Ok(reply), effects: Vec::new(), cost: 0 })
    }

    fn with(reply: Reply, effect: Effect) -> Result<Self, Error> {
        Ok(Self { reply: Ok(reply), effects: vec![effect], cost: 0 })
    }

    fn refused(refusal: Refusal) -> Self {
        Self { reply: Err(refusal), effects: Vec::new(), cost: 0 }
    }
}

impl Store {
    /// Applies the command of a committed log entry.
    ///
    /// # Errors
    /// The payload cannot be decoded, or the database cannot be read. The member must stop.
    pub fn apply(&mut self, at: LogPosition, payload: &Bytes) -> Result<Applied, Fault> {
        let (command, origin) =
            Command::decode(payload).map_err(|reason| Fault::Entry { index: at.index, reason })?;
        self.apply_decoded(at, command, &origin)
    }

    /// Applies the decoded command of a committed log entry.
    ///
    /// # Errors
    /// The database cannot be read. The member must stop.
    pub fn apply_decoded(
        &mut self,
        at: LogPosition,
        command: Command,
        origin: &Origin,
    ) -> Result<Applied, Fault> {
        let cost = quota::cost(&command);
        let checked = self.check_alarms(&command, cost).map_err(Error::from);
        let checked = checked.and_then(|()| self.check_rights(&command, origin));
        let applied = match checked.and_then(|()| self.execute_command(at, command)) {
            Ok(applied) => Applied { cost, ..applied },
            Err(Error::Refusal(refusal)) => Applied::refused(refusal),
            Err(Error::Fault(fault)) => return Err(fault),
        };
        self.tally.end_step();
        self.advance(at);
        Ok(applied)
    }

    fn execute_command(&mut self, at: LogPosition, command: Command) -> Result<Applied, Error> {
        match command {
            Command::Put(put) => self.apply_put(&put),
            Command::DeleteRange(delete) => self.apply_delete_range(&delete),
            Command::Txn(txn) => self.apply_txn(&txn),
            Command::Compact(compact) => self.apply_compact(&compact),
            Command::LeaseGrant(grant) => self.apply_lease_grant(&grant),
            Command::LeaseRevoke(revoke) => self.apply_lease_revoke(revoke.id),
            Command::LeaseExpire(expire) => self.apply_lease_expire(&expire),
            Command::Alarm(alarm) => self.apply_alarm(&alarm),
            Command::MemberPublish(publish) => self.apply_member_publish(publish),
            Command::Auth(auth) => self.apply_auth(auth),
            Command::Authenticate(login) => self.apply_authenticate(at, login),
        }
    }

    /// Refuses commands that their origin may not propose. Without authentication, this costs one
    /// atomic load.
    fn check_rights(&self, command: &Command, origin: &Origin) -> Result<(), Error> {
        if self.shared().auth_revision() == 0 {
            return Ok(());
        }
        let keys = |lease| {
            let attached =
                self.stack().leased(lease, self.revision, &OptionalContext::default())?;
            Ok(attached.into_iter().map(|(key, _)| key).collect())
        };
        let auth = self.shared().tables(|tables| tables.auth.clone());
        auth.check(origin, &Needs::of(command), keys)
    }

    /// Refuses commands that a raised alarm forbids. NOSPACE forbids commands that add data;
    /// CORRUPT forbids all commands except those for alarms, members' attributes, users and roles.
    fn check_alarms(&self, command: &Command, cost: u64) -> Result<(), Refusal> {
        let (no_space, corrupt) = self.shared().tables(|tables| {
            if tables.alarms.is_empty() {
                return (false, false);
            }
            (tables.is_raised(AlarmType::Nospace), tables.is_raised(AlarmType::Corrupt))
        });
        let maintains = matches!(
            command,
            Command::Alarm(_)
                | Command::MemberPublish(_)
                | Command::Auth(_)
                | Command::Authenticate(_)
        );
        if corrupt && !maintains {
            return Err(Refusal::Corrupt);
        }
        if no_space && cost > 0 {
            return Err(Refusal::NoSpace);
        }
        Ok(())
    }

    fn apply_put(&mut self, put: &PutRequest) -> Result<Applied, Error> {
        let mut changes = self.begin();
        if put.lease != 0 || put.ignore_value || put.ignore_lease {
            self.check_lease(put)?;
            if let Err(refused) = Self::check_key(&self.view(changes), put) {
                self.tally.range();
                return Err(refused);
            }
        }
        let response = self.put(&mut changes, put)?;
        self.commit(changes);
        Applied::plain(Reply::Put(response))
    }

    fn apply_delete_range(&mut self, delete: &DeleteRangeRequest) -> Result<Applied, Error> {
        let mut changes = self.begin();
        let response = self.delete_range(&mut changes, delete)?;
        self.commit(changes);
        Applied::plain(Reply::DeleteRange(response))
    }

    fn apply_txn(&mut self, txn: &TxnRequest) -> Result<Applied, Error> {
        let response = self.txn(txn)?;
        Applied::plain(Reply::Txn(response))
    }

    fn apply_compact(&mut self, compact: &CompactionRequest) -> Result<Applied, Error> {
        let revision = compact.revision;
        if revision <= self.compacted {
            return Err(Refusal::Compacted.into());
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision.into());
        }
        self.set_compacted(revision);
        // etcd reads the revision for the answer with a range, which its metrics count.
        self.tally.range();
        let reply = Reply::Compact(CompactionResponse { header: header(self.revision) });
        Applied::with(reply, Effect::Compacted { revision })
    }

    fn apply_lease_grant(&mut self, grant: &LeaseGrantRequest) -> Result<Applied, Error> {
        let LeaseGrantRequest { id, ttl } = *grant;
        if id == 0 {
            return Err(Refusal::LeaseNotFound.into());
        }
        if ttl > LEASE_TTL_SECONDS_MAX {
            return Err(Refusal::LeaseTtlTooLarge.into());
        }
        let exists = self.shared().tables(|tables| tables.leases.contains_key(&id));
        if exists {
            return Err(Refusal::LeaseExists.into());
        }
        self.change_tables([id], |tables| {
            tables.leases.insert(id, Lease { ttl });
        });
        let header = header(self.revision);
        let reply = LeaseGrantResponse { header, id, ttl, error: String::new() };
        Applied::with(Reply::LeaseGrant(reply), Effect::LeaseGranted { id, ttl })
    }

    fn apply_lease_revoke(&mut self, id: i64) -> Result<Applied, Error> {
        if !self.end_lease(id)? {
            return Err(Refusal::LeaseNotFound.into());
        }
        let reply = LeaseRevokeResponse { header: header(self.revision) };
        Applied::with(Reply::LeaseRevoke(reply), Effect::LeaseRevoked { id })
    }

    fn apply_lease_expire(&mut self, expire: &LeaseExpire) -> Result<Applied, Error> {
        let mut effects = Vec::with_capacity(expire.ids.len());
        for id in &expire.ids {
            if self.end_lease(*id)? {
                effects.push(Effect::LeaseRevoked { id: *id });
            }
        }
        Ok(Applied { reply: Ok(Reply::Done), effects, cost: 0 })
    }

    /// Ends a lease and deletes its keys in one revision; false if the lease does not exist.
    fn end_lease(&mut self, id: i64) -> Result<bool, Fault> {
        if !self.shared().tables(|tables| tables.leases.contains_key(&id)) {
            return Ok(false);
        }
        let mut changes = self.begin();
        self.delete_leased(&mut changes, id)?;
        self.tally.end_step();
        self.change_tables([id], |tables| tables.leases.remove(&id));
        self.commit(changes);
        Ok(true)
    }

    fn apply_alarm(&mut self, request: &AlarmRequest) -> Result<Applied, Error> {
        let alarm = (request.alarm, request.member_id);
        let mut alarms = Vec::new();
        let mut effects = Vec::new();
        let named = request.alarm != AlarmType::None as i32;
        let member = AlarmMember { member_id: request.member_id, alarm: request.alarm };
        match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => alarms = self.shared().tables(|t| t.raised(request.alarm)),
            Ok(AlarmAction::Activate) if named => {
                self.check_alarm(request)?;
                self.change_tables([], |tables| tables.alarms.insert(alarm));
                alarms.push(member);
                effects.push(Effect::Alarms);
            }
            Ok(AlarmAction::Deactivate) => {
                if self.change_tables([], |tables| tables.alarms.remove(&alarm)) {
                    alarms.push(member);
                    effects.push(Effect::Alarms);
                }
            }
            Ok(AlarmAction::Activate) | Err(_) => {}
        }
        let reply = AlarmResponse { header: header(self.revision), alarms };
        Ok(Applied { reply: Ok(Reply::Alarm(reply)), effects, cost: 0 })
    }

    /// Refuses alarms of an unknown type, and bounds the number of raised alarms. As in etcd, an
    /// alarm can be raised for a member that does not exist, but at most [`STRANGERS_ALARMS_MAX`]
    /// such alarms; id 0 means the whole cluster.
    fn check_alarm(&self, request: &AlarmRequest) -> Result<(), Refusal> {
        if AlarmType::try_from(request.alarm).is_err() {
            return Err(Refusal::UnknownAlarm);
        }
        let is_allowed = self.shared().tables(|tables| {
            let strangers = tables.alarms.iter().filter(|(_, id)| !tables.members.contains_key(id));
            tables.members.contains_key(&request.member_id)
                || strangers.count() < STRANGERS_ALARMS_MAX
        });
        if is_allowed { Ok(()) } else { Err(Refusal::UnknownMember) }
    }

    fn apply_auth(&mut self, command: AuthCommand) -> Result<Applied, Error> {
        self.change_auth(&command)?;
        let user = match command {
            AuthCommand::UserDelete(delete) => Some(delete.name),
            AuthCommand::UserChangePassword(change) => Some(change.name),
            AuthCommand::Disable(_) => None,
            _ => return Applied::plain(Reply::Done),
        };
        Applied::with(Reply::Done, Effect::LoggedOut { user })
    }

    /// Gives a token, unless users or roles have changed since the password was checked.
    fn apply_authenticate(
        &mut self,
        at: LogPosition,
        login: Authenticate,
    ) -> Result<Applied, Error> {
        let Authenticate { name, prefix, revision } = login;
        self.shared().tables(|tables| {
            tables.auth.password_of(&name)?;
            let is_old = tables.auth.revision() != revision;
            if is_old { Err(Refusal::AuthOldRevision) } else { Ok(()) }
        })?;
        let token = format!("{prefix}.{}", at.index);
        Applied::with(Reply::Token(token.clone()), Effect::LoggedIn { token, user: name })
    }

    fn apply_member_publish(&mut self, publish: MemberPublish) -> Result<Applied, Error> {
        let MemberPublish { id, name, client_urls, incarnation } = publish;
        self.change_tables([], |tables| {
            // The member may have been removed since it proposed this.
            if !tables.removed.contains(&id) {
                tables.members.insert(id, MemberAttributes { name, client_urls, incarnation });
            }
        });
        Applied::plain(Reply::Done)
    }
}
