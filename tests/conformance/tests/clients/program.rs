//! A running program that checks a client.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::clusters::Clusters;
use crate::table::Client;

/// How long a program may be silent.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program, and its lines so far.
pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Receiver<String>,
    written: Vec<String>,
    errors: NamedTempFile,
}

impl Program {
    /// Starts it.
    pub(crate) fn start(client: &Client, clusters: &Clusters) -> Self {
        let errors = NamedTempFile::new().unwrap();
        let mut child = client
            .command()
            .args(clusters.addresses())
            .arg(clusters.certificates())
            .arg(client.prefix())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(errors.path()).unwrap())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines() {
                // The line has no receiver once the test has failed.
                let _ignored = sender.send(line.expect("lines are text"));
            }
        });
        let name = format!("{} of {}", client.name, clusters.program);
        Self { name, child, lines, written: Vec::new(), errors }
    }

    /// Reads to the pause before `what`.
    pub(crate) fn run_to(&mut self, what: &str) {
        let pause = format!("before {what}");
        while let Some(line) = self.line() {
            if line == pause {
                return;
            }
            self.written.push(line);
        }
        self.fail(&format!("ends before {what}"));
    }

    /// Lets it continue after a pause.
    pub(crate) fn go_on(&mut self) {
        if let Err(error) = writeln!(self.child.stdin.as_ref().unwrap()) {
            self.fail(&format!("does not read: {error}"));
        }
    }

    /// Reads to the end, and checks that it succeeded; returns all lines.
    pub(crate) fn finish(mut self) -> Vec<String> {
        while let Some(line) = self.line() {
            self.written.push(line);
        }
        let status = self.child.wait().unwrap();
        if !status.success() {
            self.fail(&format!("fails: {status}"));
        }
        std::mem::take(&mut self.written)
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => self.fail("is silent"),
        }
    }

    fn fail(&self, why: &str) -> ! {
        let errors = std::fs::read_to_string(self.errors.path()).unwrap();
        panic!("{} {why}:\n{}\n{errors}", self.name, self.written.join("\n"));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
