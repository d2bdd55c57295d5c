//! A member, put together: its record, its objects, and its place in the store.

use jiff::{SignedDuration, Timestamp};

use super::view::after;
use crate::cluster::observed::{Member, StoreMember};
use crate::cluster::valid::Version;

/// The reasons of an exit after which no start helps: the volume has other data, or damaged data.
const DAMAGES: [&str; 2] = ["other-data", "damaged"];
/// How long a member is unreachable before it counts as broken, so that its pod may be made anew
/// outside the turn of updates. It is longer than an election.
const BROKEN_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// A member, put together.
pub(crate) struct Seen<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its record and objects.
    pub(crate) member: &'a Member,
    /// Its place in the store; absent if it has none, or if the store does not answer.
    pub(crate) stored: Option<&'a StoreMember>,
}

impl Seen<'_> {
    /// Whether the store says that it votes.
    pub(crate) fn is_voter(&self) -> bool {
        self.stored.is_some_and(|stored| !stored.is_learner)
    }

    /// Whether the store says that it does not vote.
    pub(crate) fn is_learner(&self) -> bool {
        self.stored.is_some_and(|stored| stored.is_learner)
    }

    /// Whether it serves: its own word, with its own data, from a pod that stays.
    pub(crate) fn is_healthy(&self) -> bool {
        let id = self.stored.map(|stored| stored.id).or(self.member.id);
        let answer = self.member.answer.as_ref();
        let serves = answer.is_some_and(|answer| answer.is_serving && Some(answer.id) == id);
        serves && self.member.pod.as_ref().is_some_and(|pod| !pod.is_deleted)
    }

    /// Whether the volume is there and may be used.
    pub(crate) fn has_volume(&self) -> bool {
        let volume = self.member.volume.as_ref();
        volume.is_some_and(|volume| !volume.is_lost && !volume.is_deleted && !volume.is_kept)
    }

    /// The reason code of the last end of its process, unless it serves again.
    pub(crate) fn exit(&self) -> Option<&str> {
        let exit = self.member.pod.as_ref().and_then(|pod| pod.exit.as_deref());
        exit.filter(|_| !self.is_healthy())
    }

    /// The loss or damage that is for good, in words.
    pub(crate) fn damage(&self) -> Option<String> {
        let name = self.name;
        if let Some(exit) = self.exit().filter(|exit| DAMAGES.contains(exit)) {
            return Some(format!("{name} has ended for good: {exit}"));
        }
        // A claim that is not seen beside a member that serves was not found yet.
        let is_lost = match &self.member.volume {
            Some(volume) => volume.is_lost || volume.is_deleted,
            None => self.member.id.is_some() && !self.is_healthy(),
        };
        is_lost.then(|| format!("the volume of {name} is lost"))
    }

    /// When a member that does not serve counts as broken.
    pub(crate) fn broken_at(&self) -> Option<Timestamp> {
        let is_ready = self.member.pod.as_ref().is_some_and(|pod| pod.is_ready);
        let since = self.member.unreachable_since.filter(|_| !is_ready && !self.is_healthy());
        after(since?, BROKEN_AFTER)
    }

    /// The version that it runs, or ran last.
    pub(crate) fn version(&self) -> Option<Version> {
        self.version_text().parse().ok()
    }

    /// How the program differs from the version that its pod was made with, in words.
    pub(crate) fn mismatch(&self) -> Option<String> {
        let pod = self.member.pod.as_ref().filter(|pod| !pod.is_deleted)?;
        let answer = self.member.answer.as_ref()?;
        let runs: Version = answer.version.parse().ok()?;
        let wanted: Version = pod.version.parse().ok()?;
        let name = self.name;
        (runs != wanted).then(|| format!("{name} runs {runs}, and its image should be {wanted}"))
    }

    /// The version as a text; empty if it is not known. An answer without one tells nothing new.
    pub(crate) fn version_text(&self) -> &str {
        let answered = self.member.answer.as_ref().map(|answer| answer.version.as_str());
        answered.filter(|version| !version.is_empty()).unwrap_or(&self.member.version)
    }
}
