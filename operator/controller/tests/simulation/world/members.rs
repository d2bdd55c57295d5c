//! The store, as the operator reaches it.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};
use quorate_controller::members::{
    Address, Certificates, Error, Identity, List, Listed, Members, Request, Status,
};

use super::nodes::Process;
use super::store::LOG;
use super::{Shared, World};
use crate::calls::Calls;

/// The ids of the stores' clusters are above this one.
const CLUSTER_ID: u64 = 0xc0;

/// The way of one operator to the members. Each question is a call.
pub(crate) struct Reach {
    pub(crate) world: Shared,
    pub(crate) calls: Arc<Calls>,
}

impl Reach {
    fn call<'a, T: Send + 'a>(
        &'a self,
        text: String,
        is_read: bool,
        effect: impl FnOnce(&mut World) -> Result<T, Error> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        self.calls.make(text, is_read, move || effect(&mut self.world.lock().unwrap())).boxed()
    }
}

impl Members for Reach {
    fn status<'a>(
        &'a self,
        _: &'a Identity,
        at: &'a Address,
    ) -> BoxFuture<'a, Result<Status, Error>> {
        self.call(format!("Status {}", at.member), true, |world| world.member_status(at))
    }

    fn list<'a>(&'a self, _: &'a Identity, at: &'a Address) -> BoxFuture<'a, Result<List, Error>> {
        self.call(format!("MemberList {}", at.member), true, |world| world.member_list(at))
    }

    fn reread<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, Result<Certificates, Error>> {
        self.call(format!("reread {}", at.member), false, |world| {
            world.reach(at)?;
            Ok(world.reread(&at.ip.to_string()))
        })
    }

    fn change<'a>(
        &'a self,
        _: &'a Identity,
        at: &'a Address,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.call(format!("{request:?} at {}", at.member), false, move |world| {
            let (_, id) = world.reach(at)?;
            let before = world.store.clone();
            world.store.change(id, request)?;
            world.check_change(&before, request);
            Ok(())
        })
    }
}

impl World {
    /// The process that answers at an address, and its id.
    fn reach(&self, at: &Address) -> Result<(&Process, u64), Error> {
        let found = self.process(&at.ip.to_string());
        let found = found.filter(|(process, _)| process.member == at.member);
        found.ok_or_else(|| Error::Unreachable("no connection".to_owned()))
    }

    fn member_status(&self, at: &Address) -> Result<Status, Error> {
        let (process, id) = self.reach(at)?;
        let applied = self.store.members.get(&id).map_or(0, |peer| peer.matched);
        Ok(Status {
            id,
            cluster_id: CLUSTER_ID + self.store.cluster,
            version: process.version.clone(),
            certificates: process.certificates(),
            leader: self.store.leader,
            term: self.store.term,
            committed: LOG,
            applied,
            is_ready: self.is_ready(id),
            size: 1 << 20,
            quota: 1 << 30,
            ..Status::default()
        })
    }

    fn member_list(&self, at: &Address) -> Result<List, Error> {
        let (_, id) = self.reach(at)?;
        if !self.is_ready(id) {
            return Err(Error::Unreachable("no leader".to_owned()));
        }
        let members = self.store.members.iter().map(|(id, peer)| Listed {
            id: *id,
            name: peer.name.clone(),
            peer_url: peer.url.clone(),
            is_learner: peer.is_learner,
        });
        Ok(List {
            cluster_id: CLUSTER_ID + self.store.cluster,
            configuration: self.store.configuration,
            members: members.collect(),
        })
    }
}
