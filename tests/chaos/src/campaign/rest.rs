//! The resources that members must release once their clients are gone, or do not read.

use std::time::Duration;

use quorate_test_support::usage::deleted_bytes;
use quorate_test_support::{http, wait};

use super::Campaign;
use crate::history::{Outcome, Request};

/// Bytes in flight of a member without clients, except for the lasting watches.
const IN_FLIGHT_MAX: f64 = 1e6;
/// The metric of the bytes in flight.
const IN_FLIGHT: &str = "quorate_memory_in_flight_bytes";
/// How long a member may take to end the work of clients that are gone, or to give up the states of
/// the database that it keeps for long answers.
const RELEASED_WITHIN: Duration = Duration::from_secs(20);
/// How long a member may take to end calls that its clients have given up. Finishing them instead
/// takes longer.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(3);
/// How long a defragmentation may take to succeed beside other load.
const REWRITTEN_WITHIN: Duration = Duration::from_secs(20);

impl Campaign {
    /// Checks that a member soon ends the calls that its clients have given up.
    pub(super) fn assert_given_up(&self, place: usize) {
        let (ended, bytes) = self.wait_until_idle(place, GIVEN_UP_WITHIN);
        let name = self.cluster.members[place].name();
        assert!(ended.is_some(), "{name} still has {bytes} bytes in flight for calls given up");
    }

    /// Checks that no member has work left, or space on its disk, for clients that are gone.
    pub(super) fn assert_rest(&self) {
        for place in 0..self.size() {
            let (rests, bytes) = self.wait_until_idle(place, RELEASED_WITHIN);
            let name = self.cluster.members[place].name();
            assert!(rests.is_some(), "{name} still has {bytes} bytes in flight, but no client");
            self.assert_released(place);
        }
    }

    /// Waits until a member has few bytes in flight. Returns `None` if it has not, and the bytes.
    fn wait_until_idle(&self, place: usize, within: Duration) -> (Option<()>, f64) {
        let address = self.cluster.members[place].address();
        let mut bytes = 0.0;
        let idle = wait::within(within, || {
            bytes = http::metric(&address, IN_FLIGHT)?;
            (bytes < IN_FLIGHT_MAX).then_some(())
        });
        (idle, bytes)
    }

    /// Rewrites the database of a member while clients read nothing. The member must soon give up
    /// the old file.
    pub(super) fn rewrite_meanwhile(&mut self, place: usize) {
        let mut client = self.client(place);
        let mut asked = Vec::new();
        let rewritten = wait::within(REWRITTEN_WITHIN, || {
            let operation = self.runtime.block_on(client.ask(Request::Defragment));
            let done = matches!(operation.outcome, Outcome::Answered(_));
            asked.push(operation);
            done.then_some(())
        });
        let last = asked.last().expect("it asked at least once");
        assert!(rewritten.is_some(), "no defragmentation within {REWRITTEN_WITHIN:?}: {last}");
        self.pending.extend(asked);
        self.assert_released(place);
    }

    /// Checks that a member soon closes its deleted files.
    fn assert_released(&self, place: usize) {
        let member = &self.cluster.members[place];
        let mut bytes = 0;
        let released = wait::within(RELEASED_WITHIN, || {
            bytes = deleted_bytes(member.pid());
            (bytes == 0).then_some(())
        });
        let name = member.name();
        assert!(released.is_some(), "{name} keeps deleted files of {bytes} bytes open");
    }
}
