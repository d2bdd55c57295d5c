//! How a member tells another one that the cluster goes on without it.

use tonic::{Code, Status};

use crate::ground::exclusion::{Exclusion, Notice};

/// In the text of the answer to a member that was removed: it stops when it reads this.
pub(crate) const REMOVED: &str = "was removed from the cluster";
/// In the text of the answer to a member that lost its data directory: it stops as well.
pub(crate) const OTHER_DATA: &str = "has another data directory than the one the cluster knows";

/// Notes in `notice` what another member has answered.
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
