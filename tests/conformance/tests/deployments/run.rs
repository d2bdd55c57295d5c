//! Runs a program with the settings of a deployment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_test_support::certs::Pki;
use quorate_test_support::{client, http, port, wait};

use crate::deployment::{Deployment, Probe};

/// How long a program may take to answer a probe.
const WITHIN: Duration = Duration::from_secs(60);
/// How often a start is tried, each time with other ports.
const ATTEMPTS: usize = 3;
/// The log of a program whose port another process has taken.
const TAKEN: &str = "address already in use";

/// A program that runs with the settings of a deployment.
pub(crate) struct Running {
    child: Child,
    dir: PathBuf,
    /// The placeholders and their values.
    values: Vec<(&'static str, String)>,
}

impl Running {
    /// Starts a program in a new folder of `home`.
    pub(crate) fn start(program: &Path, home: &Path, pki: &Pki, deployment: &Deployment) -> Self {
        let folder: String = deployment.name.split_whitespace().collect();
        let [client, peer, http, metrics] = port::free();
        let dir = home.join(format!("{folder}-{client}"));
        fs::create_dir(&dir).unwrap();
        let pki = pki.path("").display().to_string();
        let values = vec![
            ("{dir}", dir.display().to_string()),
            ("{pki}", pki.trim_end_matches('/').to_owned()),
            ("{client}", client.to_string()),
            ("{peer}", peer.to_string()),
            ("{http}", http.to_string()),
            ("{metrics}", metrics.to_string()),
        ];
        let fill = |text: &str| filled(text, &values);
        fs::write(dir.join("config.yaml"), fill(deployment.yaml)).unwrap();
        let variables = deployment.variables.lines().filter_map(|line| line.trim().split_once('='));
        let log = File::create(dir.join("log")).unwrap();
        let child = Command::new(program)
            .args(deployment.flags.split_whitespace().map(fill))
            .envs(variables.map(|(name, value)| (name, fill(value))))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, dir, values }
    }

    /// A text with the values of its placeholders.
    pub(crate) fn fill(&self, text: &str) -> String {
        filled(text, &self.values)
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("log")).unwrap()).into_owned()
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until a condition holds; false if the program ends before.
    pub(crate) fn wait_for(&mut self, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let met = wait::within(WITHIN, || {
            let has_ended = self.child.try_wait().unwrap().is_some();
            if has_ended { Some(false) } else { condition(self).then_some(true) }
        });
        met.unwrap_or(false)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has already ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn filled(text: &str, values: &[(&'static str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Starts a program with the settings of a deployment, and asks the deployment's probes.
pub(crate) fn check(program: &Path, home: &Path, pki: &Pki, deployment: &Deployment) {
    for attempt in 1..=ATTEMPTS {
        let mut running = Running::start(program, home, pki, deployment);
        let asked =
            deployment.probes.iter().find(|probe| !running.wait_for(|r| ask(r, probe, pki)));
        let log = running.log();
        let Some(failed) = asked else {
            let is_ours = !program.ends_with("etcd-3.7");
            for said in deployment.says.iter().filter(|_| is_ours) {
                assert!(log.contains(said), "{}: {said:?} is not in\n{log}", deployment.name);
            }
            return;
        };
        let is_taken = log.to_lowercase().contains(TAKEN);
        assert!(is_taken && attempt < ATTEMPTS, "{}: {failed:?}\n{log}", deployment.name);
    }
}

/// Whether a probe is answered as it must be.
fn ask(running: &Running, probe: &Probe, pki: &Pki) -> bool {
    match probe {
        Probe::Page(address, path) => {
            let answer = http::ask(&running.fill(address), "GET", path);
            answer.is_some_and(|(head, _)| head.split(' ').nth(1) == Some("200"))
        }
        Probe::Keys(url) => {
            let url = running.fill(url);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async { has_keys(&url, pki).await })
        }
    }
}

async fn has_keys(url: &str, pki: &Pki) -> bool {
    let channel = match url.strip_prefix("https") {
        Some(_) => client::tls_channel(url, pki),
        None => client::channel(url),
    };
    let mut client = KvClient::new(channel);
    let (key, value) = ("key".into(), "value".into());
    let put = pb::PutRequest { key, value, ..Default::default() };
    if client.put(put).await.is_err() {
        return false;
    }
    let range = pb::RangeRequest { key: "key".into(), ..Default::default() };
    let answer = client.range(range).await;
    answer.is_ok_and(|answer| answer.into_inner().kvs.iter().any(|kv| kv.value == "value"))
}
