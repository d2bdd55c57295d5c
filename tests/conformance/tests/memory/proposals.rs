//! Writes whose clients give up while the disk is slow. They are still queued, and still count.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;
use quorate_proto::etcdserverpb as pb;
use quorate_test_conformance::raw::{Connection, frame};
use quorate_test_support::require::{self, Need};
use quorate_test_support::server::Server;
use quorate_test_support::wait;
use tokio::task::JoinSet;

use super::{PATIENCE, PUT, assert_bounded, fill, run, start, value};

const CLIENTS: usize = 16;
const ATTACK: Duration = Duration::from_secs(8);

/// Delays every disk write of the server until it is dropped.
struct SlowDisk(Child);

impl SlowDisk {
    fn of(server: &Server) -> Self {
        let slow = "inject=pwrite64,fdatasync:delay_enter=300000";
        let tracer = Command::new(require::find("strace").unwrap())
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64,fdatasync", "-e", slow])
            .args(["-p", &server.pid().to_string()])
            .stdin(Stdio::null())
            .spawn();
        let status = format!("/proc/{}/status", server.pid());
        wait::until("the server is traced", PATIENCE, || {
            let status = std::fs::read_to_string(&status).ok()?;
            (!status.contains("TracerPid:\t0")).then_some(())
        });
        Self(tracer.unwrap())
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Puts a large value again and again, each time with a short timeout.
async fn put_impatiently(address: String, client: usize) {
    let connection = Connection::open(&address).await;
    let begun = Instant::now();
    let put = pb::PutRequest {
        key: format!("abandoned/{client}").into(),
        value: value(client, 1_000_000),
        ..Default::default()
    };
    let put = frame(&put.encode_to_vec());
    while begun.elapsed() < ATTACK {
        let mut request = Connection::request(PUT);
        request.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
        connection.call(request, put.clone()).await;
    }
}

#[test]
fn puts() {
    if !require::met("puts given up on a slow disk", &[Need::Root, Need::Program("strace")]) {
        return;
    }
    let server = start();
    run(async {
        fill(&server, 60, 1_000_000).await;
        let slow = SlowDisk::of(&server);
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(put_impatiently(server.address(), client));
        }
        clients.join_all().await;
        drop(slow);
    });
    assert_bounded(&server, "puts given up on a slow disk");
}
