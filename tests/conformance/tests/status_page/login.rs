//! The page while authentication is on.

use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::call;
use quorate_test_support::program;
use quorate_test_support::require::met;
use quorate_test_support::server::Server;
use serde_json::json;

use super::ask;
use super::browser::{Browser, NEEDS};
use super::view::{looks_good_everywhere, shows};

/// Makes hashes of passwords cheap.
const CHEAP: &str = "--bcrypt-cost=4";
const PASSWORD: &str = "0a72c3-correct-horse";
/// The roles of elements that the page has while it asks for a password.
const ROLES: [(&str, usize); 5] =
    [("textbox", 2), ("button", 1), ("form", 1), ("status", 1), ("table", 0)];

/// Turns authentication on.
fn enable(server: &Server) {
    let [name, password] = ["root", PASSWORD].map(str::to_owned);
    let add = pb::AuthUserAddRequest { name, password, ..Default::default() };
    call(server, "/etcdserverpb.Auth/UserAdd", &add).assert_ok();
    let [user, role] = ["root"; 2].map(str::to_owned);
    let grant = pb::AuthUserGrantRoleRequest { user, role };
    call(server, "/etcdserverpb.Auth/UserGrantRole", &grant).assert_ok();
    call(server, "/etcdserverpb.Auth/AuthEnable", &pb::AuthEnableRequest {}).assert_ok();
}

/// Types a name and a password, and presses Enter.
fn log_in(browser: &mut Browser, password: &str) {
    for (field, text) in [("user", "root"), ("password", password)] {
        browser.evaluate(&format!("document.getElementById('{field}').select()"));
        browser.call("Input.insertText", json!({ "text": text }));
    }
    for kind in ["keyDown", "keyUp"] {
        let key =
            json!({ "type": kind, "key": "Enter", "text": "\r", "windowsVirtualKeyCode": 13 });
        browser.call("Input.dispatchKeyEvent", key);
    }
}

/// Waits until the page shows the cluster, or asks for a password and shows nothing else.
fn wait_for_login(browser: &mut Browser, is_needed: bool) {
    let hidden = |id: &str, is: bool| format!("document.getElementById('{id}').hidden === {is}");
    browser.wait_for(&hidden("login", !is_needed));
    browser.wait_for(&hidden("shown", is_needed));
    browser.wait_for(&shows("state", if is_needed { "Not logged in" } else { "Healthy" }));
}

#[test]
fn the_data_are_for_users_and_the_page_is_for_everybody() {
    let server = Server::start_new(&program::quorate(), &[CHEAP]);
    let before = ask(&server.address(), "GET", "/").2;
    enable(&server);
    let (status, _, page) = ask(&server.address(), "GET", "/");
    assert_eq!((status, page), (200, before));
    let (status, head, body) = ask(&server.address(), "GET", "/status");
    assert_eq!((status, body.as_str()), (401, "etcdserver: user name is empty\n"));
    // With this header, the browser itself would ask for a password.
    assert!(!head.contains("www-authenticate"), "{head}");
}

#[test]
fn a_browser_logs_in() {
    if !met("a login at the status page", &NEEDS) {
        return;
    }
    let mut server = Server::start_new(&program::quorate(), &[CHEAP]);
    enable(&server);
    let url = format!("http://{}/", server.address());
    let mut browser = Browser::open(&url);
    wait_for_login(&mut browser, true);
    looks_good_everywhere(&mut browser, &ROLES);
    log_in(&mut browser, "wrong");
    let failed = "The login failed: etcdserver: authentication failed, invalid user ID or password";
    browser.wait_for(&shows("refused", failed));
    wait_for_login(&mut browser, true);
    log_in(&mut browser, PASSWORD);
    wait_for_login(&mut browser, false);
    browser.wait_for(&shows("leader", "m1"));
    // The end of the process ends its tokens.
    server.stop();
    server.start();
    wait_for_login(&mut browser, true);
    assert!(!browser.evaluate("document.body.innerText").to_string().contains("m1"));
    log_in(&mut browser, PASSWORD);
    wait_for_login(&mut browser, false);

    let kept = "[document.cookie, localStorage.length, sessionStorage.length, location.href]";
    assert_eq!(browser.evaluate(kept), json!(["", 0, 0, url]));
    assert_eq!(browser.evaluate("document.getElementById('password').value"), "");
    for asked in browser.asked() {
        let path = asked.strip_prefix(&url).unwrap_or(asked);
        let known = ["", "status", "v3/auth/authenticate", "data:,"];
        assert!(known.contains(&path), "{asked}");
    }
    // The browser also reports each refused request.
    for error in browser.errors() {
        assert!(error.to_string().contains("Failed to load resource"), "{error}");
    }
}
