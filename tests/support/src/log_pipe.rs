//! Carries a server's output into its log through a pipe that can be blocked.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// The smallest capacity that the system allows a pipe, in bytes.
const PIPE_BYTES: usize = 4096;
/// How often a blocked pipe checks whether it may go on.
const PAUSE: Duration = Duration::from_millis(5);

/// Blocks and unblocks the pipe. Clones share the same state.
#[derive(Clone, Debug, Default)]
pub struct LogSwitch(Arc<AtomicBool>);

impl LogSwitch {
    /// Blocked: nothing more is read from the pipe. Unblocked: reading goes on.
    pub fn set_blocked(&self, is_blocked: bool) {
        self.0.store(is_blocked, Ordering::SeqCst);
    }

    /// Returns the write end of a new pipe, and the thread that copies from the pipe to `log`. The
    /// thread ends when every process has closed the write end.
    ///
    /// # Panics
    /// If the system refuses the pipe.
    pub fn pipe(&self, log: File) -> (OwnedFd, JoinHandle<io::Result<()>>) {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe can be made");
        fcntl_setpipe_size(&writer, PIPE_BYTES).expect("it can be small");
        let switch = self.clone();
        let carrier = thread::spawn(move || switch.carry(File::from(reader), log));
        (writer, carrier)
    }

    fn carry(&self, mut from: File, mut to: File) -> io::Result<()> {
        let mut buffer = [0; PIPE_BYTES];
        loop {
            while self.0.load(Ordering::SeqCst) {
                thread::sleep(PAUSE);
            }
            match from.read(&mut buffer)? {
                0 => return Ok(()),
                count => to.write_all(&buffer[..count])?,
            }
        }
    }
}
