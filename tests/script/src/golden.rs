//! Golden scripts: running them, and comparing the output with the golden text.

use std::env;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::{Runner, Target};

/// If this is `1`, the run against etcd rewrites the golden text, and no other run compares.
const UPDATE: &str = "UPDATE_GOLDENFILES";
/// Lines shown before and after the first difference.
const CONTEXT_LINES: usize = 6;

/// Whether the golden text is being rewritten.
pub fn updating() -> bool {
    env::var(UPDATE).is_ok_and(|value| value == "1")
}

/// All scripts below `folder`, in order.
///
/// # Panics
/// If the folder cannot be read or has no script.
pub fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no scripts in {}", folder.display());
    found
}

/// Runs a script and compares its output with the golden text.
///
/// # Errors
/// The difference, or why the script cannot be run.
pub fn compare<T: Target>(script: &Path, target: T) -> Result<(), String> {
    compare_by(script, target, str::to_owned)
}

/// Like [`compare`], after applying `plain` to both texts.
///
/// # Errors
/// The difference, or why the script cannot be run.
pub fn compare_by<T: Target>(
    script: &Path,
    target: T,
    plain: impl Fn(&str) -> String,
) -> Result<(), String> {
    let golden = read(script)?;
    let output = plain(&run(script, &golden, target)?);
    let golden = plain(&golden);
    if output == golden { Ok(()) } else { Err(difference(script, &golden, &output)) }
}

/// The text with each list of leases sorted. Only a leader can sort leases by remaining time;
/// etcd's followers list them in the order of a map.
pub fn leases_in_order(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let lists: Vec<usize> = (0..lines.len()).filter(|at| is_list(lines[*at])).collect();
    for at in lists {
        let list = &mut lines[at + 1..];
        let length = list.iter().take_while(|line| line.starts_with("  ")).count();
        list[..length].sort_unstable();
    }
    lines.join("\n")
}

fn is_list(line: &str) -> bool {
    line.starts_with("leases rev=")
}

/// Runs a script and stores its output as the golden text.
///
/// # Errors
/// Why the script cannot be run or written.
pub fn update<T: Target>(script: &Path, target: T) -> Result<(), String> {
    let golden = read(script)?;
    let output = run(script, &golden, target)?;
    let written = if output == golden { Ok(()) } else { fs::write(script, output) };
    written.map_err(|error| failed(script, &error))
}

fn read(script: &Path) -> Result<String, String> {
    fs::read_to_string(script).map_err(|error| failed(script, &error))
}

fn failed(script: &Path, error: &io::Error) -> String {
    format!("{}: {error}", script.display())
}

fn run<T: Target>(script: &Path, golden: &str, target: T) -> Result<String, String> {
    let mut runner = Runner::new(target);
    goldenscript::generate(&mut runner, golden).map_err(|error| failed(script, &error))
}

fn difference(script: &Path, golden: &str, output: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (golden.lines().collect(), output.lines().collect());
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(CONTEXT_LINES);
    let show = |lines: &[&str], mark: &str| -> String {
        let rest = lines.iter().skip(same).take(CONTEXT_LINES);
        rest.map(|line| format!("{mark}{line}\n")).collect()
    };
    let before: String = expected[from..same].iter().map(|line| format!("  {line}\n")).collect();
    let expected = show(&expected, "- ");
    let found = show(&found, "+ ");
    format!("{} line {}:\n{before}{expected}{found}", script.display(), same + 1)
}

/// Runs every script, `parallel` at a time, and waits for all of them.
///
/// # Panics
/// If one fails or panics; the message has all failures.
pub fn each(
    what: &str,
    scripts: &[PathBuf],
    parallel: usize,
    run: impl Fn(&Path) -> Result<(), String> + Sync,
) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = catch_unwind(AssertUnwindSafe(|| run(script)));
                    let panicked = |_| Err(format!("{}: panicked, see above", script.display()));
                    if let Err(failure) = outcome.unwrap_or_else(panicked) {
                        failures.lock().expect("no holder of the lock panics").push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no holder of the lock panics");
    failures.sort();
    let failed = failures.len();
    let all = scripts.len();
    assert!(failures.is_empty(), "{what}: {failed} of {all} scripts\n{}", failures.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::leases_in_order;

    #[test]
    fn only_lists_of_leases_are_sorted() {
        let text = "leases\n---\nleases rev=1\n  3\n  1\nrange rev=1\n  b\n  a\nleases rev=2";
        let sorted = "leases\n---\nleases rev=1\n  1\n  3\nrange rev=1\n  b\n  a\nleases rev=2";
        assert_eq!(leases_in_order(text), sorted);
    }
}
