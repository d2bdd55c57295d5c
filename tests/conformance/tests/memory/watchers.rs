//! Many watchers with long keys.

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::watch_request::RequestUnion;
use quorate_test_conformance::healthy::HealthyClient;
use quorate_test_conformance::raw::{Connection, frame};

use super::{assert_bounded, run, start};

const WATCHERS: usize = 100_000;
/// How many watchers are created before their answers are read.
const AT_ONCE: usize = 500;
const KEY_BYTES: usize = 4000;

#[test]
fn with_long_keys() {
    let server = start();
    let healthy = HealthyClient::start(&server);
    run(async {
        let connection = Connection::open(&server.address()).await;
        let create = |number: usize| {
            let key = format!("{number:0KEY_BYTES$}").into();
            let create = pb::WatchCreateRequest { key, ..Default::default() };
            let request = Some(RequestUnion::CreateRequest(create));
            frame(&pb::WatchRequest { request_union: request }.encode_to_vec())
        };
        let request = Connection::request("/etcdserverpb.Watch/Watch");
        let mut watch = connection.start(request, bytes::Bytes::new(), false).await;
        let mut refused = 0;
        for first in (0..WATCHERS).step_by(AT_ONCE) {
            (first..first + AT_ONCE).for_each(|number| watch.send(create(number), false));
            assert!(watch.wait_for_messages(AT_ONCE).await, "{:?}", watch.so_far());
            for answer in watch.take_messages() {
                refused += usize::from(pb::WatchResponse::decode(answer).unwrap().canceled);
            }
        }
        eprintln!("{refused} of {WATCHERS} watchers were refused");
        assert!(refused > 0 && refused < WATCHERS);
    });
    healthy.finish("watchers with long keys");
    assert_bounded(&server, "watchers with long keys");
}
