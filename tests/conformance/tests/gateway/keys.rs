//! Keys as plain text.

use super::client::{Answer, Open, ask, post};

fn call(address: &str, request: &str, body: &str) -> (u16, String) {
    let answer = ask(address, &request.replacen(' ', " /v1/keys/", 1), "", body);
    (answer.status, answer.text)
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[test]
fn keys_are_read_written_and_deleted() {
    let server = super::start(&[]);
    let address = server.address();
    let call = |request: &str, body: &str| call(&address, request, body);
    assert_eq!(call("GET a/b", ""), (404, "key not found\n".into()));
    assert_eq!(call("PUT a/b", "one\ntwo"), ok("revision 2\n"));
    assert_eq!(call("PUT a/c%20d", ""), ok("revision 3\n"));
    assert_eq!(call("PUT /a", "x"), ok("revision 4\n"));
    assert_eq!(call("GET a/b", ""), ok("one\ntwo"));
    assert_eq!(call("GET a/b?", ""), ok("one\ntwo"));
    assert_eq!(call("GET a/?prefix", ""), ok("a/b\tone\\ntwo\na/c d\t\n"));
    assert_eq!(call("GET ?prefix=true", ""), ok("/a\tx\na/b\tone\\ntwo\na/c d\t\n"));
    assert_eq!(call("GET none?prefix", ""), ok(""));
    assert_eq!(call("DELETE a/?prefix", ""), ok("deleted 2, revision 5\n"));
    assert_eq!(call("DELETE a/b", ""), (404, "key not found\n".into()));
    let answer = ask(&address, "GET /v1/keys//a", "", "");
    assert_eq!(answer.header("quorate-revision"), Some("4"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    // The same keys as those of every other client.
    assert_eq!(post(&address, "kv/range", r#"{"key":"L2E="}"#).json()["kvs"][0]["value"], "eA==");
}

#[test]
fn errors_are_plain_texts() {
    let server = super::start(&["--max-request-bytes=1000"]);
    let address = server.address();
    let is_error = |request: &str, body: &str, status, part: &str| {
        let answer = call(&address, request, body);
        assert!(answer.0 == status && answer.1.contains(part), "{request}: {answer:?}");
    };
    is_error("GET ", "", 400, "the path has no key");
    is_error("PUT ", "x", 400, "the path has no key");
    is_error("GET a?x", "", 400, "the options are ?prefix and ?watch");
    is_error("PUT a?prefix", "x", 400, "the method does not have this option");
    is_error("DELETE a?watch", "", 400, "the method does not have this option");
    is_error("POST a", "x", 405, "the methods are GET, PUT and DELETE");
    is_error("PUT a", &"x".repeat(2000), 400, "etcdserver: request is too large");
    let resumed: Answer = ask(&address, "GET /v1/keys/a?watch", "Last-Event-ID: x\r\n", "");
    assert_eq!(resumed.status, 400);
}

fn watch(address: &str, path: &str, headers: &str) -> Open {
    let open = Open::send(address, &format!("GET /v1/keys/{path}"), headers, "");
    assert_eq!(open.status, 200);
    open
}

#[test]
fn watches_resume_after_the_last_event() {
    let server = super::start(&[]);
    let address = server.address();
    let mut events = watch(&address, "w/?watch&prefix", "");
    assert_eq!(events.event(), ": from revision 2\n");
    // Both events of a transaction have one revision, which only the second one has as its id.
    let txn = r#"{"success":[{"request_put":{"key":"dy8x","value":"YQ=="}},
        {"request_put":{"key":"dy8y","value":"YgpjCQ=="}}]}"#;
    assert_eq!(post(&address, "kv/txn", txn).status, 200);
    assert_eq!(events.event(), "event: put\ndata: w/1\ta\n");
    assert_eq!(events.event(), "id: 2\nevent: put\ndata: w/2\tb\\nc\\t\n");
    drop(events);
    assert_eq!(call(&address, "DELETE w/1", ""), ok("deleted 1, revision 3\n"));
    let mut events = watch(&address, "w/?watch&prefix", "Last-Event-ID: 2\r\n");
    assert!(events.event().starts_with(": from revision"));
    assert_eq!(events.event(), "id: 3\nevent: delete\ndata: w/1\n");
    // A client that missed compacted events is told so, and can resume after them.
    assert_eq!(call(&address, "PUT w/3", "x"), ok("revision 4\n"));
    assert_eq!(post(&address, "kv/compaction", r#"{"revision":"4"}"#).status, 200);
    let mut events = watch(&address, "w/?watch&prefix", "Last-Event-ID: 1\r\n");
    assert!(events.event().starts_with(": from revision"));
    assert_eq!(events.event(), "id: 3\nevent: compacted\ndata: 4\n");
    let mut events = watch(&address, "w/?watch&prefix", "Last-Event-ID: 3\r\n");
    assert!(events.event().starts_with(": from revision"));
    assert_eq!(events.event(), "id: 4\nevent: put\ndata: w/3\tx\n");
}
