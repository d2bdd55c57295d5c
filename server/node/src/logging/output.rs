//! Where lines go: each output has a bounded queue and a thread of its own, so that an output
//! that takes no more lines stops nothing but itself. Lines for which there is no room are dropped
//! and counted; the output says how many as soon as it takes lines again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use quorate_core::planted::{self, Mistake};

/// Bytes of the lines that wait for one output; as many more can be being written.
const BYTES_MAX: usize = 512 << 10;

/// What waits for the thread that writes.
#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of the lines. Those that are being written do not count: the last words of a process
    /// find room when somebody begins to read.
    bytes: usize,
    dropped: u64,
    is_writing: bool,
}

impl State {
    fn has_work(&self) -> bool {
        !self.lines.is_empty() || self.dropped > 0
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

/// One place that lines go to.
#[derive(Clone)]
pub(super) struct Output(Arc<Queue>);

impl Output {
    /// Begins to write to `target`. `tell` makes the line that says how many were dropped.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(super) fn new(
        target: Box<dyn Write + Send>,
        tell: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = queue.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || writer.run(target, &tell))?;
        Ok(Self(queue))
    }

    /// Takes a line and returns at once.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.0.state.lock();
        if state.bytes + line.len() > BYTES_MAX {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_vec());
        self.0.filled.notify_one();
        while planted::has(Mistake::BlockOnLog) && (state.is_writing || state.has_work()) {
            self.0.emptied.wait(&mut state);
        }
    }

    /// Waits until every line is written, but not beyond `deadline`.
    pub(super) fn flush(&self, deadline: Instant) {
        let mut state = self.0.state.lock();
        while state.is_writing || state.has_work() {
            if self.0.emptied.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}

impl Queue {
    fn run(&self, mut target: Box<dyn Write + Send>, tell: &dyn Fn(u64) -> String) {
        // Lines that are lost without a word so far.
        let mut untold = 0;
        loop {
            let (batch, lines) = self.next();
            if target.write_all(&batch).is_err() {
                untold += lines;
            }
            untold += std::mem::take(&mut self.state.lock().dropped);
            if untold > 0 && target.write_all(tell(untold).as_bytes()).is_ok() {
                untold = 0;
            }
            target.flush().ok();
            let mut state = self.state.lock();
            state.is_writing = false;
            self.emptied.notify_all();
        }
    }

    /// Waits for lines; returns them in one piece, and how many they are.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.state.lock();
        while !state.has_work() {
            self.filled.wait(&mut state);
        }
        state.is_writing = true;
        state.bytes = 0;
        let lines = state.lines.len() as u64;
        let batch = std::mem::take(&mut state.lines).into_iter().flatten().collect();
        (batch, lines)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn an_output_that_takes_nothing_stops_nobody() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::new(Box::new(writer), |lines| format!("{lines} lost\n")).unwrap();
        let line = [b'a'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        // A queue and a pipe, and as much again.
        let pushed = 3000;
        for _ in 0..pushed {
            output.push(&line);
        }
        // Nobody has read yet, and nobody waits for ever.
        output.flush(Instant::now() + Duration::from_millis(1));
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            while !all.ends_with(b"lost\n") {
                let mut some = [0; 4096];
                let length = reader.read(&mut some).unwrap();
                all.extend_from_slice(&some[..length]);
            }
            (String::from_utf8(all).unwrap(), reader)
        });
        output.flush(soon());
        let (text, _reader) = reading.join().unwrap();
        let whole = text.lines().filter(|said| said.len() == 1023).count();
        let lost: usize = text.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(lost > 0);
        assert_eq!(whole + lost, pushed, "every line is written or counted");
    }

    #[test]
    fn lines_are_written_before_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::new(Box::new(writer), |lines| format!("{lines} lost\n")).unwrap();
        output.push(b"one\n");
        output.push(b"two\n");
        output.flush(soon());
        let mut said = [0; 8];
        reader.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"one\ntwo\n");
    }
}
