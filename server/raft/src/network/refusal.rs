//! The refusal by which a member tells a caller that the cluster has excluded it.
//!
//! Its reason is a code in the header [`header::EXCLUSION`]. The text is for logs alone.

use tonic::Status;
use tonic::metadata::MetadataValue;

use super::header;
use crate::ground::exclusion::{Exclusion, Notice};

/// The code of an exclusion. Members of other versions read it, so it never changes its meaning.
fn code(exclusion: Exclusion) -> &'static str {
    match exclusion {
        Exclusion::Removed => "removed",
        Exclusion::OtherData => "other-data",
    }
}

/// The refusal of a call by `member`.
pub(crate) fn refusal(member: u64, exclusion: Exclusion) -> Status {
    let mut status = match exclusion {
        Exclusion::Removed => {
            Status::permission_denied(format!("member {member:x} was removed from the cluster"))
        }
        Exclusion::OtherData => Status::failed_precondition(format!(
            "member {member:x} has another data directory than the one the cluster knows; remove \
             the member and add it again"
        )),
    };
    let code = MetadataValue::from_static(code(exclusion));
    status.metadata_mut().insert(header::EXCLUSION, code);
    status
}

/// The exclusion that a status reports; `None` for any other status, and for an unknown code.
fn exclusion_in(status: &Status) -> Option<Exclusion> {
    let sent = status.metadata().get(header::EXCLUSION)?;
    let all = [Exclusion::Removed, Exclusion::OtherData];
    all.into_iter().find(|known| *sent == *code(*known))
}

/// Posts to `notice` if the status excludes this member.
pub(crate) fn note_exclusion(notice: &Notice, status: &Status) {
    if let Some(exclusion) = exclusion_in(status) {
        notice.post(exclusion);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal as it arrives, by way of the headers of a response.
    fn received(status: &Status) -> Status {
        Status::from_header_map(status.clone().into_http::<()>().headers()).unwrap()
    }

    #[test]
    fn the_code_decides_whatever_the_words() {
        for exclusion in [Exclusion::Removed, Exclusion::OtherData] {
            let refusal = received(&refusal(1, exclusion));
            assert_eq!(exclusion_in(&refusal), Some(exclusion));
            let mut reworded = Status::unknown("a later version has other words");
            *reworded.metadata_mut() = refusal.metadata().clone();
            assert_eq!(exclusion_in(&received(&reworded)), Some(exclusion));
            let without_code = Status::new(refusal.code(), refusal.message());
            assert_eq!(exclusion_in(&received(&without_code)), None);
        }
    }

    #[test]
    fn other_refusals_exclude_no_member() {
        let mut unknown = Status::permission_denied("member 1 was removed from the cluster");
        unknown.metadata_mut().insert(header::EXCLUSION, MetadataValue::from_static("paused"));
        for status in [Status::failed_precondition("cluster ID mismatch"), unknown] {
            assert_eq!(exclusion_in(&received(&status)), None, "{status}");
        }
    }

    #[tokio::test]
    async fn an_exclusion_wakes_the_waiting_tasks() {
        let notice = Notice::new();
        note_exclusion(&notice, &Status::permission_denied("go away"));
        assert_eq!(notice.posted_now(), None);
        let waiting = notice.clone();
        let (posted, ()) = tokio::join!(waiting.posted(), async {
            note_exclusion(&notice, &refusal(1, Exclusion::Removed));
        });
        assert_eq!(posted, Exclusion::Removed);
    }
}
