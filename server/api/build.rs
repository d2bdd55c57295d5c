//! Generates the server stubs of the two services that carry the bytes: their messages go through
//! codecs of our own, which share what they can and write what is written already.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let message = |name: &str| format!("::quorate_proto::etcdserverpb::{name}");
    let unary = |name: &str, route: &str, input: &str, output: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(message(input))
            .output_type(output)
            .codec_path("crate::codec::Wire")
            .build()
    };
    let kv = Service::builder()
        .name("KV")
        .package("etcdserverpb")
        .method(unary("range", "Range", "RangeRequest", "crate::codec::rows::EncodedRange"))
        .method(
            Method::builder()
                .name("range_stream")
                .route_name("RangeStream")
                .input_type(message("RangeRequest"))
                .output_type("crate::codec::rows::EncodedChunk")
                .codec_path("crate::codec::Wire")
                .server_streaming()
                .build(),
        )
        .method(unary("put", "Put", "PutRequest", &message("PutResponse")))
        .method(unary(
            "delete_range",
            "DeleteRange",
            "DeleteRangeRequest",
            &message("DeleteRangeResponse"),
        ))
        .method(unary("txn", "Txn", "TxnRequest", &message("TxnResponse")))
        .method(unary("compact", "Compact", "CompactionRequest", &message("CompactionResponse")))
        .build();
    let watch = Service::builder()
        .name("Watch")
        .package("etcdserverpb")
        .method(
            Method::builder()
                .name("watch")
                .route_name("Watch")
                .input_type(message("WatchRequest"))
                .output_type("crate::watch::frame::Frame")
                .codec_path("crate::codec::Wire")
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .build();
    Builder::new().build_client(false).build_transport(false).compile(&[kv, watch]);
}
