//! Compares Quorate with etcd in the same run: speed, memory and disk use, as ratios, and the cost
//! of attacks for both.
//!
//! ```text
//! cargo run --release -p quorate-test-bench -- \
//!     [--only put,range,memory,restart,stalls,cluster,attacks,users] \
//!     [--rounds N] [--quick] [--out FILE]
//! ```
//!
//! Both servers run on this machine, with the same flags and with fsync, and take turns: each round
//! measures one, then the other, and gives one ratio. The report, in Markdown, has the median and
//! the range of the ratios. Figures of one machine say nothing about another, and little if other
//! programs used the machine during the run; the report says how much they used it.

#![forbid(unsafe_code)]

mod cases;
mod client;
mod comparison;
mod machine;
mod meter;
mod metrics;
mod probe;
mod process;
mod report;
mod stats;
mod subject;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use cases::Bench;
pub use cases::Case;
use report::Section;
use subject::{FLAGS, Programs};

/// How long the disk is probed before and after all cases.
const DISK_WATCHED: Duration = Duration::from_secs(5);
const TITLE: &str = "Quorate beside etcd";

/// The cases to measure, and the place of the report.
#[derive(Clone, Debug, Parser)]
#[command(about = "Compares Quorate with etcd on this machine.")]
pub struct Options {
    /// Only these cases.
    #[arg(long, value_delimiter = ',', value_name = "CASE,..")]
    pub only: Vec<Case>,
    /// Rounds of each case; by default five if a round is short, and three if it is long.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,
    /// A twentieth of the keys and two rounds: to see that everything works, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// The file for the report, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Measures, and writes the report: to a file after each case, or to standard output at the end.
///
/// # Errors
/// If etcd is missing or a server fails; the report then has the cases before the failure.
pub fn run(options: &Options) -> Result<()> {
    let programs = Programs::find()?;
    let mut text = introduction(&programs, options)?;
    let bench = Bench { programs, rounds: options.rounds, is_quick: options.quick };
    let mut sections = Vec::new();
    let measured = cases::run(&bench, &options.only, |of_case| {
        sections.extend(of_case);
        options.out.as_ref().map_or(Ok(()), |out| save(out, &text, &sections))
    });
    writeln!(text, "- Disk after everything: {}", disk(&bench.programs)?)?;
    match &options.out {
        Some(out) => save(out, &text, &sections)?,
        None => print!("{}", report::markdown(TITLE, &text, &sections)),
    }
    measured
}

/// The report's introduction: the machine, the programs and their flags.
fn introduction(programs: &Programs, options: &Options) -> Result<String> {
    let folder = programs.folder.path();
    let mut lines = machine::describe(folder)?;
    let version = |program| machine::output_of(program, &["--version"]);
    let line = |said: &str, name: &str| {
        let found = said.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or("unknown").trim().to_owned()
    };
    lines.push(("Quorate", line(&version(&programs.servers.quorate)?, "Quorate Version:")));
    lines.push(("etcd", line(&version(&programs.servers.etcd)?, "etcd Version:")));
    lines.push(("Flags of both, besides addresses and data directory", FLAGS.join(" ")));
    lines.push(("Disk before everything", disk(programs)?));
    let list: String = lines.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect();
    let quick = if options.quick {
        "**Made with `--quick`: these figures are meaningless.**\n\n"
    } else {
        ""
    };
    let intro = "Made by `tests/bench`. Clients and servers share the machine; both servers have \
                 fsync on. Each round measures Quorate, then etcd, and gives a ratio of Quorate's \
                 figure to etcd's; the tables show the median of all rounds and, in brackets, the \
                 least and the greatest.";
    Ok(format!("{quick}{intro}\n\n{list}"))
}

fn disk(programs: &Programs) -> Result<String> {
    let latencies = probe::watch(programs.folder.path(), DISK_WATCHED)?;
    let [half, p99, worst] = [0.5, 0.99, 1.0].map(|share| report::figure(latencies.micros(share)));
    Ok(format!("a small write with fdatasync takes {half} µs, p99 {p99} µs, worst {worst} µs"))
}

fn save(file: &Path, text: &str, sections: &[Section]) -> Result<()> {
    let report = report::markdown(TITLE, text, sections);
    fs::write(file, report).with_context(|| file.display().to_string())
}
