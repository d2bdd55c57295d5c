//! The page in a browser.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use quorate_test_conformance::acknowledged::Acknowledged;
use quorate_test_support::cluster::Cluster;
use quorate_test_support::program;
use quorate_test_support::require::met;
use serde_json::json;

use super::browser::{Browser, NEEDS};
use super::data;

/// An expression: the lowest contrast between a shown text and its background. Level AA of WCAG
/// demands 4.5.
const CONTRAST: &str = "(() => {
    const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
    const part = (value) => {
        value /= 255;
        return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    };
    const light = (color) => {
        const [r, g, b] = numbers(color).map(part);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return numbers(color)[3] === 0 ? behind(element.parentElement) : color;
    };
    const all = [...document.body.querySelectorAll('*')].filter((element) => element.innerText);
    return Math.min(...all.map((element) => {
        const both = [getComputedStyle(element).color, behind(element)].map(light);
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    }));
})()";

/// The roles of elements that the page of a cluster of three members has.
const ROLES: [(&str, usize); 6] = [
    ("table", 1),
    ("row", 4),
    ("columnheader", 5),
    ("rowheader", 3),
    ("status", 1),
    ("heading", 3),
];

/// An expression: whether an element's text is `text`.
pub(crate) fn shows(id: &str, text: &str) -> String {
    format!("document.getElementById('{id}').textContent === {}", json!(text))
}

/// Raises (1) or disarms (2) the alarm NOSPACE of a member.
fn alarm(cluster: &Cluster, action: i32, member_id: u64) {
    let request = pb::AlarmRequest { action, member_id, alarm: 1 };
    let mut client = MaintenanceClient::new(cluster.channel(1));
    cluster.block_on(async { client.alarm(request).await }).unwrap();
}

#[test]
fn a_browser_shows_the_cluster() {
    if !met("the status page in a browser", &NEEDS) {
        return;
    }
    let mut cluster = Cluster::start_new(&program::quorate(), 3, &[]);
    let address = cluster.members[0].address();
    let url = format!("http://{address}/");
    let mut browser = Browser::open(&url);
    browser.wait_for(&shows("state", "Healthy"));
    browser.wait_for("document.querySelectorAll('#members tr').length === 3");
    let told = data(&cluster.members[1].address());
    let members = told["members"].as_array().unwrap();
    let leader = members.iter().find(|member| member["id"] == told["leader"]).unwrap();
    browser.wait_for(&shows("leader", leader["name"].as_str().unwrap()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut keys = Acknowledged::default();
            while !done.load(Ordering::Relaxed) {
                assert_eq!(keys.write(&cluster.members[1], 10, 10), None);
            }
        });
        browser.wait_for("parseFloat(document.getElementById('writes').textContent) > 0");
        done.store(true, Ordering::Relaxed);
    });
    browser.wait_for(&shows("writes", "0"));
    let id = cluster.member_id(2);
    alarm(&cluster, 1, id);
    browser.wait_for(&shows("state", "Needs attention: 1 alarm"));
    browser.wait_for("document.getElementById('alarms').innerText.startsWith('NOSPACE of ')");
    looks_good_everywhere(&mut browser, &ROLES);
    alarm(&cluster, 2, id);
    browser.wait_for(&shows("state", "Healthy"));
    assert!(browser.errors().is_empty(), "{:?}", browser.errors());
    let asked = browser.asked();
    assert!(asked.len() > 2, "{asked:?}");
    for asked in asked {
        assert!(asked.starts_with(&url) || asked.starts_with("data:"), "{asked}");
    }
    cluster.members[0].kill();
    browser.wait_for("!document.getElementById('lost').hidden");
    browser.wait_for("document.querySelectorAll('#members tr').length === 3");
}

/// Checks sizes, colours and roles of the elements on a small and a large screen. `expected` has
/// the roles, each with the number of its elements.
pub(crate) fn looks_good_everywhere(browser: &mut Browser, expected: &[(&str, usize)]) {
    for (width, height) in [(360, 740), (1280, 800)] {
        let screen = json!({
            "width": width, "height": height, "deviceScaleFactor": 2, "mobile": width < 1000,
        });
        browser.call("Emulation.setDeviceMetricsOverride", screen);
        browser.wait_for(&format!("innerWidth === {width}"));
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_u64() <= Some(width), "{wide} on a screen of {width}");
        for scheme in ["light", "dark"] {
            let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
            browser.call("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
            browser.wait_for(&format!("matchMedia('(prefers-color-scheme: {scheme})').matches"));
            let contrast = browser.evaluate(CONTRAST);
            assert!(contrast.as_f64() >= Some(4.5), "{contrast} in {scheme}, {width}");
        }
        let tree = browser.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap();
        let count = |role: &str| nodes.iter().filter(|node| node["role"]["value"] == role).count();
        for (role, expected) in expected {
            assert_eq!(count(role), *expected, "{role}, on a screen of {width}");
        }
    }
}
