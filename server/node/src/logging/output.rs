//! The outputs of the log. Each output has a bounded queue and its own thread, so that a blocked
//! output blocks nothing else. Lines that do not fit into the queue are dropped and counted; their
//! number is written as soon as the output takes lines again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use quorate_core::planted::{self, Mistake};

/// Largest queue of one output, in bytes. As many bytes again can be in the write in progress.
const BYTES_MAX: usize = 512 << 10;

/// The queue of the writing thread.
#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Bytes of `lines`. The write in progress does not count, so that the last lines of a process
    /// find room once a reader begins to read.
    bytes: usize,
    dropped: u64,
    is_writing: bool,
    /// Whether the last line of the log is queued or written.
    has_ended: bool,
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

/// One output of the log. Clones share it.
#[derive(Clone)]
pub(super) struct Output(Arc<Queue>);

impl Output {
    /// Starts a thread that writes to `target`. `drops_line` formats the line that reports the
    /// number of dropped lines.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn new(
        target: Box<dyn Write + Send>,
        drops_line: impl Fn(u64) -> String + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer = queue.clone();
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || writer.run(target, &drops_line))?;
        Ok(Self(queue))
    }

    /// Queues a line, or drops and counts it if the queue is full. Never blocks.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.0.state.lock();
        if state.has_ended {
            return;
        }
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

    /// Queues the last line, even if the queue is full. All lines after it are dropped.
    pub(super) fn end(&self, line: &[u8]) {
        let mut state = self.0.state.lock();
        if !std::mem::replace(&mut state.has_ended, true) {
            state.lines.push_back(line.to_vec());
            self.0.filled.notify_one();
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
    fn run(&self, mut target: Box<dyn Write + Send>, drops_line: &dyn Fn(u64) -> String) {
        // Number of dropped lines that are not reported yet.
        let mut unreported = 0;
        loop {
            let (batch, lines, dropped) = self.next();
            unreported += dropped;
            // The report comes before the batch, because the batch may contain the last line.
            if unreported > 0 && target.write_all(drops_line(unreported).as_bytes()).is_ok() {
                unreported = 0;
            }
            if target.write_all(&batch).is_err() {
                unreported += lines;
            }
            target.flush().ok();
            let mut state = self.state.lock();
            state.is_writing = false;
            self.emptied.notify_all();
        }
    }

    /// Waits for lines; returns all queued ones as one batch, their number, and how many lines were
    /// dropped.
    fn next(&self) -> (Vec<u8>, u64, u64) {
        let mut state = self.state.lock();
        while !state.has_work() {
            self.filled.wait(&mut state);
        }
        state.is_writing = true;
        state.bytes = 0;
        let lines = state.lines.len() as u64;
        let batch = std::mem::take(&mut state.lines).into_iter().flatten().collect();
        (batch, lines, std::mem::take(&mut state.dropped))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_blocked_output_does_not_block_its_writers() {
        let (reader, writer) = io::pipe().unwrap();
        let output = Output::new(Box::new(writer), |lines| format!("{lines} lost\n")).unwrap();
        let line = [b'a'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        // More than a queue, a write in progress and a pipe can hold.
        let pushed = 3000;
        for _ in 0..pushed {
            output.push(&line);
        }
        // Nothing has been read yet, and the flush still returns at its deadline.
        output.flush(Instant::now() + Duration::from_millis(1));
        let reading = std::thread::spawn(move || {
            let (mut whole, mut lost) = (0, 0);
            let mut lines = BufReader::new(reader).lines();
            // Lost lines may be reported in several parts.
            while whole + lost < pushed {
                let line = lines.next().unwrap().unwrap();
                match line.strip_suffix(" lost") {
                    Some(count) => lost += count.parse::<usize>().unwrap(),
                    None => whole += usize::from(line.len() == 1023),
                }
            }
            (whole, lost)
        });
        output.flush(soon());
        let (whole, lost) = reading.join().unwrap();
        assert!(lost > 0);
        assert_eq!(whole + lost, pushed, "every line is written or counted");
    }

    /// A target that takes nothing while its gate is closed.
    struct Gated {
        gate: Arc<Mutex<()>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _open = self.gate.lock();
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_follows_the_last_line() {
        let (gate, written) = (Arc::new(Mutex::new(())), Arc::default());
        let target = Gated { gate: gate.clone(), written: Arc::clone(&written) };
        let output = Output::new(Box::new(target), |lines| format!("{lines} lost\n")).unwrap();
        let closed = gate.lock();
        // More than a queue and a write in progress can hold.
        for _ in 0..3000 {
            output.push(&[b'a'; 1024]);
        }
        output.end(b"last\n");
        output.push(b"later\n");
        output.end(b"last again\n");
        drop(closed);
        output.flush(soon());
        let written = String::from_utf8(written.lock().clone()).unwrap();
        assert!(written.contains(" lost\n"));
        assert!(written.ends_with("last\n") && !written.contains("later"));
    }

    #[test]
    fn lines_are_written_before_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::new(Box::new(writer), |lines| format!("{lines} lost\n")).unwrap();
        output.push(b"one\n");
        output.push(b"two\n");
        output.flush(soon());
        let mut written = [0; 8];
        reader.read_exact(&mut written).unwrap();
        assert_eq!(&written, b"one\ntwo\n");
    }
}
