//! The Cluster service.

use quorate_proto::etcdserverpb as pb;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use super::stubs::cluster_server::Cluster;
use crate::error::ApiError;
use crate::ops::cluster::Listed;
use crate::server::Server;

/// The metadata key of an answer's configuration index.
const CONFIGURATION: &str = "quorate-configuration";
/// The metadata key by which a change names the configuration index that it expects.
const EXPECTED_CONFIGURATION: &str = "quorate-expected-configuration";

/// The Cluster service of a server.
pub(crate) struct ClusterService(pub(crate) Server);

/// The configuration index that the client expects; `None` if it names none.
///
/// # Errors
/// The metadata have it more than once, or it is not a decimal number.
fn expected(metadata: &MetadataMap) -> Result<Option<u64>, ApiError> {
    let mut named = metadata.get_all(EXPECTED_CONFIGURATION).iter();
    let Some(value) = named.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let index = text.and_then(|text| text.parse().ok()).filter(|_| named.next().is_none());
    index.map(Some).ok_or(ApiError::BadExpectedConfiguration)
}

fn respond<M>(listed: Listed<M>) -> Response<M> {
    let Listed { message, configuration } = listed;
    let mut response = Response::new(message);
    if let Some(index) = configuration {
        response.metadata_mut().insert(CONFIGURATION, MetadataValue::from(index));
    }
    response
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let expected = expected(request.metadata())?;
        Ok(respond(self.0.member_add(request.into_inner(), expected).await?))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let expected = expected(request.metadata())?;
        Ok(respond(self.0.member_remove(request.into_inner(), expected).await?))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let expected = expected(request.metadata())?;
        Ok(respond(self.0.member_update(request.into_inner(), expected).await?))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        Ok(respond(self.0.member_list(request.into_inner()).await?))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let expected = expected(request.metadata())?;
        Ok(respond(self.0.member_promote(request.into_inner(), expected).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(values: &[&str]) -> Result<Option<u64>, ApiError> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(EXPECTED_CONFIGURATION, value.parse().unwrap());
        }
        expected(&metadata)
    }

    #[test]
    fn an_expected_configuration_is_one_decimal_number() {
        assert_eq!(named(&[]), Ok(None));
        assert_eq!(named(&["0"]), Ok(Some(0)));
        assert_eq!(named(&["18446744073709551615"]), Ok(Some(u64::MAX)));
        for bad in ["", "+1", "-1", "0x1", "1.0", "1,1", " 1", "18446744073709551616"] {
            assert_eq!(named(&[bad]), Err(ApiError::BadExpectedConfiguration), "{bad:?}");
        }
        assert_eq!(named(&["1", "1"]), Err(ApiError::BadExpectedConfiguration));
    }
}
