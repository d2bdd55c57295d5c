//! Clients of the gateway that do not read their answers, or that send much.

use quorate_test_support::http;
use serde_json::json;

use super::client::{Open, post};

const BUDGET: &str = "--memory-budget=67108864";
/// Limit of the growth of the server's resident memory.
const GROWTH_MAX: u64 = 200 << 20;
const CLIENTS: usize = 40;

#[test]
fn slow_readers_use_bounded_memory() {
    let server = super::start(&[BUDGET]);
    let address = server.address();
    let value = "QUJD".repeat(250_000);
    for key in 10..30 {
        let put = json!({ "key": format!("AA{key}"), "value": value }).to_string();
        assert_eq!(post(&address, "kv/put", &put).status, 200);
    }
    let before = server.usage().peak_memory;
    let all = r#"{"key":"AA==","range_end":"AA=="}"#;
    let requests = || Open::send(&address, "POST /v3/kv/range", "", all);
    let unread: Vec<Open> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(requests)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let refused = unread.iter().filter(|answer| answer.status != 200);
    assert!(refused.clone().all(|answer| answer.status == 500), "too many requests");
    let grown = server.usage().peak_memory.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more for {CLIENTS} answers of 27 MB");
    assert!(http::get(&address, "/metrics").is_some());
    drop(unread);
    assert_eq!(post(&address, "kv/put", r#"{"key":"Zm9v"}"#).status, 200);
}

/// Each value of three bytes takes hundreds when it is decoded.
#[test]
fn many_small_values_are_refused() {
    let server = super::start(&[BUDGET]);
    let before = server.usage().peak_memory;
    let body = format!("{{\"success\":[{}{{}}]}}", "{},".repeat(1_500_000));
    let answer = post(&server.address(), "kv/txn", &body);
    assert_eq!(answer.status, 500, "{}", answer.text);
    assert_eq!(answer.json()["message"], "etcdserver: too many requests");
    let grown = server.usage().peak_memory.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for {} bytes of JSON", body.len());
}
