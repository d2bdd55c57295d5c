//! Generates the server stubs from the table of methods. They use a codec of this crate, which
//! checks messages before it decodes them, shares bytes instead of copying them, and accepts
//! encoded answers.

use tonic_build::manual::{self, Builder, Service};

#[allow(dead_code, reason = "the server uses more columns of the table")]
#[path = "src/method.rs"]
mod method;

use method::{METHODS, Method, MethodKind, Route};

/// The Rust types of a method's request and answer. A name without a path is a message.
fn types(method: &Method) -> (String, String) {
    let named = ["Request", "Response"].map(|side| method.name.to_owned() + side);
    let in_auth = named.each_ref().map(|name| format!("Auth{name}"));
    let (request, answer) = match (method.route, method.name) {
        (Route::Kv, "Range") => ("RangeRequest", "crate::grpc::codec::rows::EncodedRange"),
        (Route::Kv, "RangeStream") => ("RangeRequest", "crate::grpc::codec::rows::EncodedChunk"),
        (Route::Kv, "Compact") => ("CompactionRequest", "CompactionResponse"),
        (Route::Watch, "Watch") => ("WatchRequest", "crate::watch::frame::Frame"),
        (Route::Maintenance, "HashKV") => ("HashKvRequest", "HashKvResponse"),
        (Route::Auth, _) if method.name.starts_with("Auth") => {
            (named[0].as_str(), named[1].as_str())
        }
        (Route::Auth, _) => (in_auth[0].as_str(), in_auth[1].as_str()),
        (Route::Election, "Observe") => ("LeaderRequest", "LeaderResponse"),
        (Route::Health, "List") => ("HealthListRequest", "HealthListResponse"),
        (Route::Health, _) => ("HealthCheckRequest", "HealthCheckResponse"),
        _ => (named[0].as_str(), named[1].as_str()),
    };
    let module = match method.route {
        Route::Health => "health",
        Route::Election => "v3electionpb",
        Route::Lock => "v3lockpb",
        _ => "etcdserverpb",
    };
    let path = |name: &str| {
        if name.contains("::") {
            name.to_owned()
        } else {
            format!("::quorate_proto::{module}::{name}")
        }
    };
    (path(request), path(answer))
}

/// The name of a method in Rust.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut ends_word = false;
    for letter in name.chars() {
        if letter.is_uppercase() && ends_word {
            snake.push('_');
        }
        ends_word = letter.is_lowercase();
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn stub(method: &Method) -> manual::Method {
    let (request, answer) = types(method);
    let codec = match method.kind {
        MethodKind::Unary => "crate::grpc::codec::UnaryWire",
        MethodKind::ServerStream | MethodKind::BidiStream => "crate::grpc::codec::StreamWire",
    };
    let mut stub = manual::Method::builder()
        .name(snake_case(method.name))
        .route_name(method.name)
        .input_type(request)
        .output_type(answer)
        .codec_path(codec);
    if method.kind == MethodKind::BidiStream {
        stub = stub.client_streaming();
    }
    if method.kind != MethodKind::Unary {
        stub = stub.server_streaming();
    }
    stub.build()
}

fn service(route: Route) -> Service {
    let (package, name) = route.service().rsplit_once('.').expect("services have a package");
    let service = Service::builder().name(name).package(package);
    let methods = METHODS.iter().filter(|method| method.route == route);
    methods.fold(service, |service, method| service.method(stub(method))).build()
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/method.rs");
    Builder::new().build_client(false).build_transport(false).compile(&Route::ALL.map(service));
}
