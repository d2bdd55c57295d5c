//! How a member tells a caller that the cluster has excluded it.

use tonic::{Code, Status};

use crate::ground::exclusion::{Exclusion, Notice};

/// Part of the refusal of a removed member, which stops when it reads this.
pub(crate) const REMOVED: &str = "was removed from the cluster";
/// Part of the refusal of a member with another data directory, which stops as well.
pub(crate) const OTHER_DATA: &str = "has another data directory than the one the cluster knows";

/// Posts to `notice` if the status excludes this member.
pub(crate) fn heed(notice: &Notice, status: &Status) {
    match status.code() {
        Code::PermissionDenied if status.message().contains(REMOVED) => {
            notice.post(Exclusion::Removed);
        }
        Code::FailedPrecondition if status.message().contains(OTHER_DATA) => {
            notice.post(Exclusion::OtherData);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_answers_that_mean_it_exclude() {
        let notice = Notice::new();
        heed(&notice, &Status::permission_denied("go away"));
        heed(&notice, &Status::unavailable(format!("member 1 {}", REMOVED)));
        heed(&notice, &Status::failed_precondition("cluster ID mismatch"));
        assert_eq!(notice.posted_now(), None);
        heed(&notice, &Status::failed_precondition(format!("member 1 {}", OTHER_DATA)));
        assert_eq!(notice.posted().await, Exclusion::OtherData);
        let notice = Notice::new();
        let waiting = notice.clone();
        let (posted, ()) = tokio::join!(waiting.posted(), async {
            heed(&notice, &Status::permission_denied(format!("member 1 {}", REMOVED)));
        });
        assert_eq!(posted, Exclusion::Removed);
    }
}
