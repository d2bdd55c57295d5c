//! Compares the events of watches with the events that were written.
//!
//! Over all its resumptions, a watch must receive every event that it requested exactly once and in
//! order, with the events of one revision in one message. A member may cancel it only when a
//! compaction removed events that it has not received; the watch then continues at the compacted
//! revision. Its progress may start lower after a resumption, but must not move back in between.

use std::collections::BTreeMap;

use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use quorate_proto::mvccpb::Event;

use super::model::{Keys, Model};
use super::violation::{Rule, Violation, ensure};
use crate::history::{Moment, Observation, Observed, Operation, Outcome, Request};

/// All watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches {
    watches: BTreeMap<u64, Watch>,
    /// The first invocation of each compaction, by revision.
    compactions: BTreeMap<i64, Moment>,
    /// Observations of revisions beyond the last audit.
    early: Vec<Observation>,
}

/// The state of a watch.
#[derive(Clone, Debug)]
struct Watch {
    interest: WatchCreateRequest,
    /// The watch has received everything below this revision.
    next: i64,
    /// The last revision received since the last resumption.
    reached: i64,
}

impl Watches {
    /// Records compactions.
    pub(super) fn learn(&mut self, operations: &[Operation]) {
        for operation in operations {
            if let Request::Compact(compact) = operation.request
                && !matches!(operation.outcome, Outcome::Refused(..))
            {
                let first = self.compactions.entry(compact.revision).or_insert(operation.invoked);
                *first = operation.invoked.min(*first);
            }
        }
    }

    /// Checks the observations up to the last revision of the model, and keeps the later ones for
    /// the next call. Returns the number of events. The model must hold every revision observed
    /// before `since`.
    pub(super) fn check(
        &mut self,
        observations: Vec<Observation>,
        model: &Model,
        since: Moment,
    ) -> Result<usize, Violation> {
        let mut events = 0;
        let mut early: Vec<Observation> = Vec::new();
        let all = std::mem::take(&mut self.early).into_iter().chain(observations);
        for observation in all {
            let later = early.iter().any(|other| other.watch == observation.watch);
            let unknown = highest(&observation) > model.revision();
            ensure(!unknown || observation.at > since, Rule::LostWrite, || {
                let last = model.revision();
                format!("the last revision is {last}, but a watch received {observation:?}")
            })?;
            if unknown || later {
                early.push(observation);
                continue;
            }
            events += self.take(observation, model)?;
        }
        self.early = early;
        Ok(events)
    }

    fn take(&mut self, observation: Observation, model: &Model) -> Result<usize, Violation> {
        let Observation { watch: number, at, what, .. } = observation;
        match what {
            Observed::Requested(interest) => {
                let start = interest.start_revision;
                let new = Watch { interest, next: start, reached: 0 };
                let watch = self.watches.entry(number).or_insert(new);
                watch.reached = 0;
                ensure(watch.next == start, Rule::WrongWatch, || {
                    format!("watch {number} received events up to {}, not {start}", watch.next)
                })?;
                Ok(0)
            }
            Observed::Received(told) => {
                let watch = self.watches.get_mut(&number).expect("it was asked for");
                let compacts = |revision: i64| {
                    self.compactions.get(&revision).is_some_and(|asked| *asked < at)
                };
                if told.canceled && told.compact_revision > 0 {
                    let asked = compacts(told.compact_revision);
                    watch.take_compaction(number, &told, asked)?;
                    return Ok(0);
                }
                watch.take(number, &told, model, compacts)
            }
        }
    }
}

/// The highest revision of an observation: that of an event or of progress.
fn highest(observation: &Observation) -> i64 {
    match &observation.what {
        Observed::Received(told) if told.created || told.canceled => 0,
        Observed::Received(told) => match told.events.iter().map(revision_of).max() {
            Some(last) => last,
            None => told.header.as_ref().map_or(0, |header| header.revision),
        },
        Observed::Requested(_) => 0,
    }
}

fn revision_of(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

impl Watch {
    fn take(
        &mut self,
        number: u64,
        told: &WatchResponse,
        model: &Model,
        compacts: impl Fn(i64) -> bool,
    ) -> Result<usize, Violation> {
        let wrong =
            |what: String| Violation::new(Rule::WrongWatch, format!("watch {number} {what}"));
        if told.canceled {
            return Err(wrong(format!("was cancelled: {told:?}")));
        }
        let header = told.header.as_ref().map_or(0, |header| header.revision);
        let Some(last) = told.events.last().map(revision_of) else {
            if !told.created {
                self.take_progress(header, model).map_err(wrong)?;
            }
            return Ok(0);
        };
        if header < last {
            return Err(wrong(format!("received {last} under a header of {header}")));
        }
        let mut due: Vec<Event> = self.due(last, model);
        for (due, told) in due.iter_mut().zip(&told.events) {
            // A compaction keeps the versions at its own revision, but not the values before them.
            if told.prev_kv.is_none() && compacts(revision_of(due)) {
                due.prev_kv = None;
            }
        }
        if due != told.events {
            let at = due.iter().zip(&told.events).take_while(|(a, b)| a == b).count();
            return Err(wrong(format!(
                "was due {} events of {}..={last}, received {}; they differ at number {at}: \
                 due {}, told {}",
                due.len(),
                self.next,
                told.events.len(),
                shown(due.get(at)),
                shown(told.events.get(at)),
            )));
        }
        (self.next, self.reached) = (last + 1, last);
        Ok(due.len())
    }

    /// Takes a cancellation because of a compaction. A client must have requested that compaction,
    /// and it must have removed events that the watch has not received; the watch skips these.
    fn take_compaction(
        &mut self,
        number: u64,
        told: &WatchResponse,
        asked: bool,
    ) -> Result<(), Violation> {
        let behind = self.next < told.compact_revision;
        ensure(asked && behind, Rule::WrongWatch, || {
            format!("watch {number}, told everything below {}, was cancelled: {told:?}", self.next)
        })?;
        self.next = told.compact_revision;
        Ok(())
    }

    /// Takes a progress notification: no event up to `revision` may be missing.
    fn take_progress(&mut self, revision: i64, model: &Model) -> Result<(), String> {
        let reached = self.reached;
        if revision < reached {
            return Err(format!("received progress {revision} behind {reached}"));
        }
        self.reached = revision;
        if revision < self.next {
            return Ok(());
        }
        if let Some(left) = self.due(revision, model).first() {
            return Err(format!("received progress {revision}, but not {}", shown(Some(left))));
        }
        self.next = revision + 1;
        Ok(())
    }

    /// The events from `next` up to `last`.
    fn due(&self, last: i64, model: &Model) -> Vec<Event> {
        let keys = Keys::new(&self.interest.key, &self.interest.range_end);
        let changes = (self.next..=last).flat_map(|revision| model.changes(revision));
        let filters = &self.interest.filters;
        let no_puts = filters.contains(&(FilterType::Noput as i32));
        let no_deletions = filters.contains(&(FilterType::Nodelete as i32));
        let wanted = changes.filter(|change| {
            let unwanted = if change.after.is_tombstone() { no_deletions } else { no_puts };
            keys.contains(&change.key) && !unwanted
        });
        wanted.map(|change| change.event(self.interest.prev_kv)).collect()
    }
}

/// An event as text for a violation.
fn shown(event: Option<&Event>) -> String {
    let Some((event, kv)) = event.and_then(|event| Some((event, event.kv.as_ref()?))) else {
        return "nothing".to_owned();
    };
    let key = String::from_utf8_lossy(&kv.key);
    format!("{:?} of {key} at revision {}", event.r#type(), kv.mod_revision)
}
