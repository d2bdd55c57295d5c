//! etcd's own load generator, `benchmark`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// The figures that it prints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Requests answered per second.
    pub(crate) per_second: f64,
    /// Median latency in microseconds.
    pub(crate) median: f64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99: f64,
}

/// A load of puts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Puts {
    pub(crate) connections: usize,
    pub(crate) clients: usize,
    pub(crate) total: u64,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
}

/// Runs `benchmark` against the server at `url`, or several with commas between them.
///
/// # Errors
/// If it fails, a request failed, or its output has another form.
pub(crate) fn puts(program: &Path, url: &str, load: Puts) -> Result<Summary> {
    let output = Command::new(program)
        .arg(format!("--endpoints={url}"))
        .arg(format!("--conns={}", load.connections))
        .arg(format!("--clients={}", load.clients))
        .args(["--precise", "put", "--key-size=8"])
        .arg(format!("--val-size={}", load.value_bytes))
        .arg(format!("--total={}", load.total))
        .arg(format!("--key-space-size={}", load.keys))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{}: {}", program.display(), output.status);
    let said = String::from_utf8(output.stdout)?;
    ensure!(!said.contains("Error distribution"), "requests failed:\n{said}");
    summary(&said).with_context(|| format!("not a summary:\n{said}"))
}

fn summary(said: &str) -> Option<Summary> {
    let figure = |label: &str| -> Option<f64> {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(label))?;
        line.split_whitespace().find_map(|word| word.parse().ok())
    };
    Some(Summary {
        per_second: figure("Requests/sec:")?,
        median: figure("50% in")? * 1e6,
        p99: figure("99% in")? * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_etcds_benchmark_is_parsed() {
        let said = "\nSummary:\n  Total:\t2.5 secs.\n  Requests/sec:\t10226.5\n\n\
                    Latency distribution:\n  10% in 0.25 secs.\n  50% in 0.5 secs.\n  \
                    99% in 2 secs.\n  99.9% in 4 secs.\n";
        let expected = Summary { per_second: 10226.5, median: 500_000.0, p99: 2_000_000.0 };
        assert_eq!(summary(said), Some(expected));
        assert_eq!(summary("nothing"), None);
    }
}
