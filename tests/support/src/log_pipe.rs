//! What a server says, by way of a pipe that can stand still.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// The least that the system lets a pipe hold, in bytes.
const PIPE_BYTES: usize = 4096;
/// How often a pipe that stands still looks whether it may go on.
const PAUSE: Duration = Duration::from_millis(5);

/// Carries what a process says into its log. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct LogSwitch(Arc<AtomicBool>);

impl LogSwitch {
    /// Reads nothing from the pipe from now on, or goes on reading.
    pub fn set_blocked(&self, is_blocked: bool) {
        self.0.store(is_blocked, Ordering::SeqCst);
    }

    /// The end of a new pipe that a process writes to, and the thread that carries what comes into
    /// `log`; it ends with the processes that hold the pipe.
    ///
    /// # Panics
    /// When the system does not let us.
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
