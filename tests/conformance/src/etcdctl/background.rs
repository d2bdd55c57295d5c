//! An etcdctl command that runs in the background until it is stopped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::side::Outcome;

/// The running command. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Background {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Mutex<String>>,
    readers: Option<(JoinHandle<()>, JoinHandle<String>)>,
    /// Number of lines that it must have printed by now.
    pub(super) expected: usize,
}

impl Background {
    pub(super) fn start(mut command: Command, stdin: &str) -> Self {
        let words = command.get_args().skip(2).map(|word| word.to_string_lossy().into_owned());
        let what = words.collect::<Vec<_>>().join(" ");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("etcdctl can be started");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut err = child.stderr.take().expect("it is piped");
        let stdout = Arc::new(Mutex::new(String::new()));
        let shared = stdout.clone();
        let out = std::thread::spawn(move || {
            let mut line = Vec::new();
            // Protobuf output is not text, but is compared as if it were.
            while out.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        let err = std::thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).expect("etcdctl prints text");
            text
        });
        let input = child.stdin.take();
        let readers = Some((out, err));
        let mut background = Self { what, child, stdin: input, stdout, readers, expected: 0 };
        if !stdin.is_empty() {
            background.tell(stdin.trim_end());
        }
        background
    }

    /// Its standard output so far.
    pub(super) fn stdout(&self) -> String {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Number of lines of its standard output so far.
    pub(super) fn lines(&self) -> usize {
        self.stdout().lines().count()
    }

    /// Whether it has printed this line.
    pub(super) fn has_line(&self, line: &str) -> bool {
        self.stdout().lines().any(|printed| printed == line)
    }

    /// Writes a line to its standard input.
    pub(super) fn tell(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it is open until the end");
        writeln!(stdin, "{text}").expect("etcdctl reads on");
        stdin.flush().expect("etcdctl reads on");
    }

    /// Kills it; returns the command and its output.
    pub(super) fn stop(mut self) -> (String, Outcome) {
        self.end();
        let (out, err) = self.readers.take().expect("it is stopped once");
        out.join().expect("reading does not panic");
        let stderr = err.join().expect("reading does not panic");
        // There is no exit code, because we killed the command.
        (self.what.clone(), Outcome { code: None, stdout: self.stdout(), stderr })
    }

    fn end(&mut self) {
        // An error means that it has already ended.
        let _ended = self.child.kill();
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}
