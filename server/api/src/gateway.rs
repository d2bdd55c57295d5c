//! The JSON gateway: etcd's HTTP paths `/v3/…`. As in etcd, every gRPC method has one, except for
//! `RangeStream` and those of the health service.
//!
//! A request becomes a gRPC call within the process. This call is checked, charged and counted like
//! every other call. Its answer becomes JSON.
//!
//! ```text
//!   JSON --> request --> the gRPC call --> answer --> JSON
//!   headers --> metadata --^                 |
//!                                          writer
//! ```
//!
//! The JSON can also come and go over a web socket, see [`socket`].

mod answer;
mod metadata;
mod paths;
mod request;
pub(crate) mod socket;
mod status;
mod writer;

use std::collections::BTreeMap;
use std::error::Error;

use bytes::Bytes;
use http::{Method, Request, Response, Uri, Version};
use http_body::Body;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use quorate_proto::FILE_DESCRIPTOR_SET;
use tonic::Status;

pub(crate) use self::answer::Form;
use self::answer::failure;
pub(crate) use self::metadata::metadata;
use self::paths::PATHS;
pub(crate) use self::request::CallBody;
use self::request::{Rules, call_body};
pub(crate) use self::status::http_status;
use crate::transport::answer::ResponseBody;
use crate::transport::caller::Caller;
use crate::transport::charge::Held;

/// The prefix of all paths.
pub(crate) const PREFIX: &str = "/v3/";
/// An earlier prefix, which etcd still accepts.
pub(crate) const FORMER_PREFIX: &str = "/v3beta/";

/// An answer of the gateway.
pub(crate) type Answer = Response<tonic::body::Body>;

/// The JSON gateway.
pub(crate) struct Gateway {
    methods: BTreeMap<&'static str, Rest>,
    /// Bytes of the largest message.
    length_max: usize,
}

/// A method that has a path.
struct Rest {
    method: MethodDescriptor,
    /// The path of its gRPC calls.
    call: Uri,
}

/// What carries a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// HTTP. As in etcd, a call with one message begins when the body has been read to its end.
    Http,
    /// A web socket, whose messages have no end before its client leaves. A call with one message
    /// begins when the message is complete.
    Socket,
}

impl Gateway {
    /// The gateway for calls whose largest message has `length_max` bytes.
    pub(crate) fn new(length_max: usize) -> Self {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build wrote it");
        let methods = PATHS.iter().map(|(path, name)| {
            let (service, method) = name.split_once('/').expect("the name of a method");
            let service = pool.get_service_by_name(service).expect("a service of etcd");
            let method = service.methods().find(|it| it.name() == method);
            let method = method.expect("a method of the service");
            let call = format!("/{name}").parse().expect("names are valid in a path");
            (*path, Rest { method, call })
        });
        Self { methods: methods.collect(), length_max }
    }

    /// The gRPC call for a request whose path is `path` after the prefix, and the form of its
    /// answer.
    ///
    /// # Errors
    /// No method has the path, the method of HTTP is not `POST`, or the metadata is malformed. The
    /// error is the answer to the request.
    pub(crate) fn call<B>(
        &self,
        path: &str,
        request: Request<B>,
        carrier: Carrier,
        caller: &Caller,
    ) -> Result<(Request<CallBody>, Form), Box<Answer>>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let Some(Rest { method, call }) = self.methods.get(path) else {
            return Err(Box::new(failure(&Status::not_found("Not Found"), false)));
        };
        if request.method() != Method::POST {
            return Err(Box::new(failure(&Status::unimplemented("Method Not Allowed"), false)));
        }
        let metadata = metadata(request.headers()).map_err(|bad| Box::new(failure(&bad, false)))?;
        let rules = Rules {
            message: method.input(),
            is_stream: method.is_client_streaming(),
            awaits_end: carrier == Carrier::Http,
            length_max: self.length_max,
        };
        let held = Held::new(&caller.account, caller.intake.clone());
        let mut made = Request::new(call_body(request.into_body(), rules, held));
        *made.method_mut() = Method::POST;
        *made.version_mut() = Version::HTTP_2;
        *made.uri_mut() = call.clone();
        *made.headers_mut() = metadata;
        let form = Form { message: method.output(), is_stream: method.is_server_streaming() };
        Ok((made, form))
    }
}

impl Form {
    /// Turns the answer of the call into the answer of the request.
    pub(crate) async fn answer(self, call: Response<ResponseBody>, caller: &Caller) -> Answer {
        answer::answer(call, self, caller.account.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::method::{METHODS, Route};

    #[test]
    fn every_method_has_a_path() {
        let gateway = Gateway::new(1);
        assert_eq!(gateway.methods.len(), PATHS.len());
        let served: BTreeSet<_> =
            gateway.methods.values().map(|rest| rest.call.path().to_owned()).collect();
        for method in METHODS {
            // As in etcd, these have no path.
            let is_left_out = method.route == Route::Health || method.name == "RangeStream";
            assert_eq!(served.contains(&method.path()), !is_left_out, "{}", method.path());
        }
    }
}
