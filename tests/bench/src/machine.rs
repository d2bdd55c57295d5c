//! The machine on which a comparison runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};

/// Name and value of each fact that a reader needs to judge the figures.
pub(crate) fn describe(folder: &Path) -> Result<Vec<(&'static str, String)>> {
    let cores = thread::available_parallelism()?;
    Ok(vec![
        ("Date", output_of("date", &["-u", "+%Y-%m-%d"])?),
        ("Processor", format!("{}, {cores} cores", processor()?)),
        ("Memory", memory()?),
        ("Kernel", format!("Linux {}", read("/proc/sys/kernel/osrelease")?.trim())),
        ("File system of the data", file_system(folder)?),
        ("Load average at the start", load_average()?),
    ])
}

/// A program's standard output, without trailing white space.
pub(crate) fn output_of(program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| program.display().to_string())?;
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn processor() -> Result<String> {
    let text = read("/proc/cpuinfo")?;
    let line = text.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
    Ok(model.unwrap_or(std::env::consts::ARCH).to_owned())
}

fn memory() -> Result<String> {
    let text = read("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("/proc/meminfo has no total")?;
    Ok(format!("{} GiB", kibibytes.div_ceil(1 << 20)))
}

fn load_average() -> Result<String> {
    let text = read("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(", "))
}

/// Type and device of the file system of `folder`.
fn file_system(folder: &Path) -> Result<String> {
    let folder = folder.canonicalize()?;
    let text = read("/proc/self/mounts")?;
    let mounts = text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let device = words.next()?;
        let at = words.next()?;
        let kind = words.next()?;
        folder.starts_with(at).then_some((at.len(), format!("{kind} on {device}")))
    });
    // Of several mounts on the same path, the last one is visible.
    let innermost = mounts.max_by_key(|(length, _)| *length);
    innermost.map(|(_, text)| text).context("no mount holds the folder")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_property_of_the_machine_is_empty() {
        let lines = describe(Path::new(".")).unwrap();
        assert_eq!(lines.len(), 6);
        assert!(lines.iter().all(|(_, value)| !value.is_empty()), "{lines:?}");
    }

    #[test]
    fn the_file_system_of_a_path_is_found() {
        assert_eq!(file_system(Path::new("/proc/sys")).unwrap(), "proc on proc");
    }
}
