//! `quorate`: a member of a replicated key-value store that clients of etcd v3 can use.
//!
//! The program reads its flags, starts the member, and serves it until a signal comes. Everything
//! that knows all other parts is here, and nothing else.

#![forbid(unsafe_code)]

mod bootstrap;
mod config;
mod dial;
mod flags;
mod listen;
mod logging;
mod notify;
mod process;
mod run;
mod tls;
mod version;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::StyledStr;

use config::Config;
use flags::Asked;
use run::End;

/// How long a thread that has nothing to do is kept: the allocator keeps memory for each.
const IDLE_THREAD: Duration = Duration::from_millis(500);

/// Memory that is freed goes back to the system, and many threads do not stand in each other's way.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // What is not text is no good value, and is refused where it is read.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, lossy(value))));
    let settings = match flags::read(std::env::args_os(), environment) {
        Ok(Asked::Run(settings)) => settings,
        Ok(Asked::Version) => {
            print!("{}", version::version());
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Print(text, 0)) => {
            print!("{}", styled(&text, std::io::stdout().is_terminal()));
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Print(text, code)) => {
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

/// The text, with colours for people alone.
fn styled(text: &StyledStr, is_terminal: bool) -> String {
    if is_terminal { text.ansi().to_string() } else { text.to_string() }
}

/// Tells all problems with the configuration.
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
    // The allocator asks for huge pages, most of which would stay half empty: a quarter of the
    // memory for nothing. A system without them needs no telling.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = match threads.enable_all().thread_keep_alive(IDLE_THREAD).build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&[format!("cannot start threads: {error}")]),
    };
    let outcome = runtime.block_on(run::run(config));
    // A connection that would not end must not keep the process.
    runtime.shutdown_background();
    if let Err(error) = &outcome {
        tracing::error!("cannot go on: {error}");
    }
    logging::flush();
    match outcome {
        Ok(End::Signal(signal)) => end_by(signal),
        Ok(End::Removed) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Ends the process as the signal would have, so that whoever sent it sees that; the first process
/// of a container, which signals do not end, just leaves.
fn end_by(signal: i32) -> ExitCode {
    if std::process::id() != 1 {
        signal_hook::low_level::emulate_default_handler(signal).ok();
    }
    ExitCode::SUCCESS
}
