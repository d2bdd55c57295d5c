//! `quorate`: a member of a replicated key-value store that clients of etcd v3 can use.
//!
//! The program reads its flags, starts the member, and serves it until a signal arrives. This crate
//! holds the code that wires all other crates together, and nothing else.

#![forbid(unsafe_code)]

mod bootstrap;
mod config;
mod dial;
mod ending;
mod flags;
mod listen;
mod logging;
mod notify;
mod process;
mod run;
mod telemetry;
mod tls;
mod tls_page;
mod version;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::StyledStr;

use config::Config;
use flags::Invocation;

/// How long an idle thread is kept. It is short because the allocator keeps memory per thread.
const IDLE_THREAD: Duration = Duration::from_millis(500);

/// mimalloc returns freed memory to the system, and its threads rarely contend for a lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A value that is not UTF-8 is converted lossily; the code that reads the flag refuses it.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, lossy(value))));
    let settings = match flags::read(std::env::args_os(), environment) {
        Ok(Invocation::Run(settings)) => settings,
        Ok(Invocation::Version) => {
            print!("{}", version::version());
            return ExitCode::SUCCESS;
        }
        Ok(Invocation::Print(text, 0)) => {
            print!("{}", styled(&text, std::io::stdout().is_terminal()));
            return ExitCode::SUCCESS;
        }
        Ok(Invocation::Print(text, code)) => {
            eprint!("{}", styled(&text, std::io::stderr().is_terminal()));
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
        Err(problems) => return refuse(&problems),
    };
    match Config::new(&settings) {
        Ok(config) => start(config),
        Err(problems) => refuse(&problems),
    }
}

fn lossy(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}

/// The text, with colours only when it goes to a terminal.
fn styled(text: &StyledStr, is_terminal: bool) -> String {
    if is_terminal { text.ansi().to_string() } else { text.to_string() }
}

/// Prints all problems with the configuration to the standard error.
fn refuse(problems: &[impl ToString]) -> ExitCode {
    for problem in problems {
        eprintln!("quorate: {}", problem.to_string());
    }
    ExitCode::FAILURE
}

fn start(config: Config) -> ExitCode {
    if let Err(problem) = logging::start(&config.logging) {
        return refuse(&[problem]);
    }
    if !config.is_durable {
        quorate_storage::sync::turn_off();
    }
    // The allocator asks for huge pages, most of which would stay half empty and waste a quarter
    // of the memory. The error is ignored: a system without huge pages has nothing to turn off.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = match threads.enable_all().thread_keep_alive(IDLE_THREAD).build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&[format!("cannot start threads: {error}")]),
    };
    let outcome = runtime.block_on(run::run(config));
    // A connection that does not end must not keep the process alive.
    runtime.shutdown_background();
    let signal = match outcome {
        Ok(signal) => signal,
        Err(error) => ending::end(&ending::of_error(&*error)),
    };
    logging::flush();
    end_by(signal)
}

/// Ends the process by the signal's default action, so that the parent process sees which signal
/// ended it. Process 1 of a container exits normally, because signals do not end it by default.
fn end_by(signal: i32) -> ExitCode {
    if std::process::id() != 1 {
        signal_hook::low_level::emulate_default_handler(signal).ok();
    }
    ExitCode::SUCCESS
}
