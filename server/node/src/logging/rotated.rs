//! A log file that is replaced by a new one when it has its largest size.
//!
//! Earlier files have the time of their end in their name, as etcd's have: `etcd.log` becomes
//! `etcd-2026-01-02T15-04-05.000.log`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use x509_parser::prelude::ASN1Time;

use crate::config::Rotation;

/// The form of the time in the name of an earlier file.
const TIME: &str = "2026-01-02T15-04-05.000";
/// End of the name of a compressed file.
const COMPRESSED: &str = ".gz";

/// Opens a file to append to. Only the owner of a new file can read it.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The file of a log, which is replaced by a new one when it is full.
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Rotation,
}

impl Rotated {
    /// Opens the file to append to, and removes the earlier files that are too many or too old.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = append_to(path)?;
        let bytes = file.metadata()?.len();
        let rotated = Self { path: path.to_owned(), file, bytes, rotation };
        // The log goes on even if an earlier file cannot be removed.
        rotated.remove_old().ok();
        Ok(rotated)
    }

    /// The beginning and the end of the names of earlier files.
    fn affixes(&self) -> (String, String) {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let end = self.path.extension().map(|end| format!(".{}", end.to_string_lossy()));
        (format!("{stem}-"), end.unwrap_or_default())
    }

    fn replace(&mut self) -> io::Result<()> {
        let (start, end) = self.affixes();
        let now = text_of(SystemTime::now());
        let earlier = self.path.with_file_name(format!("{start}{now}{end}"));
        fs::rename(&self.path, &earlier)?;
        let file = append_to(&self.path)?;
        // Programs that may read the earlier file may read the new one, too.
        file.set_permissions(self.file.metadata()?.permissions())?;
        (self.file, self.bytes) = (file, 0);
        if self.rotation.compresses {
            compress(&earlier).ok();
        }
        self.remove_old().ok();
        Ok(())
    }

    /// Removes the earlier files that are too many, or too old by the time in their name.
    fn remove_old(&self) -> io::Result<()> {
        let kept = self.rotation.files_max.unwrap_or(usize::MAX);
        let oldest = self.rotation.age_max.and_then(|age| SystemTime::now().checked_sub(age));
        let oldest = oldest.map(text_of).unwrap_or_default();
        if kept == usize::MAX && oldest.is_empty() {
            return Ok(());
        }
        let (start, end) = self.affixes();
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let time_in = |name: &str| {
            let name = name.strip_suffix(COMPRESSED).unwrap_or(name);
            let time = name.strip_prefix(&start).and_then(|name| name.strip_suffix(&end));
            time.filter(|time| is_time(time)).map(str::to_owned)
        };
        let mut earlier = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            earlier.extend(time_in(&name).map(|time| (time, name)));
        }
        // The newest file comes first.
        earlier.sort_unstable_by(|one, other| other.cmp(one));
        for (at, (time, name)) in earlier.iter().enumerate() {
            if at >= kept || *time < oldest {
                fs::remove_file(folder.join(name))?;
            }
        }
        Ok(())
    }
}

impl Write for Rotated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + bytes.len() as u64 > self.rotation.bytes_max {
            self.replace()?;
        }
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Replaces a file by a compressed one with the same permissions.
fn compress(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut plain = File::open(path)?;
    let compressed = append_to(&path.with_file_name(format!("{name}{COMPRESSED}")))?;
    compressed.set_permissions(plain.metadata()?.permissions())?;
    let mut encoder = GzEncoder::new(compressed, Compression::default());
    io::copy(&mut plain, &mut encoder)?;
    encoder.finish()?;
    fs::remove_file(path)
}

/// Whether a text has the form of a time in the name of an earlier file.
fn is_time(text: &str) -> bool {
    let is_like = |(byte, form): (u8, u8)| match form {
        b'0'..=b'9' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    text.len() == TIME.len() && text.bytes().zip(TIME.bytes()).all(is_like)
}

/// A time in UTC, as in the names of earlier files. These texts have the order of their times.
fn text_of(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    let Ok(time) = ASN1Time::from_timestamp(seconds) else { return String::new() };
    let time = time.to_datetime();
    let (hour, minute, second) = time.to_hms();
    let millis = since.subsec_millis();
    format!("{}T{hour:02}-{minute:02}-{second:02}.{millis:03}", time.date())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rotation: Rotation, lines: usize) -> (Vec<String>, String) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("etcd.log");
        fs::write(home.path().join("etcd-other.log"), "precious").unwrap();
        let mut log = Rotated::open(&path, rotation).unwrap();
        let mut files = 0;
        for line in 0..lines {
            log.write_all(format!("line {line}\n").as_bytes()).unwrap();
            // Files that end in the same millisecond would have the same name.
            let count = fs::read_dir(home.path()).unwrap().count();
            if count != files {
                files = count;
                let before = text_of(SystemTime::now());
                while text_of(SystemTime::now()) == before {}
            }
        }
        let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert!(names.contains(&"etcd-other.log".to_owned()), "{names:?}");
        (names, fs::read_to_string(&path).unwrap())
    }

    #[test]
    fn a_full_file_is_replaced() {
        let rotation =
            Rotation { bytes_max: 20, age_max: None, files_max: None, compresses: false };
        let (names, last) = written(rotation.clone(), 6);
        // The names are those of the file, of the other file, and of two earlier ones.
        assert_eq!((names.len(), last.as_str()), (4, "line 4\nline 5\n"), "{names:?}");
        let (names, _) = written(Rotation { files_max: Some(1), ..rotation }, 20);
        assert_eq!(names.len(), 3, "{names:?}");
        let (names, _) = written(Rotation { compresses: true, ..rotation }, 6);
        assert_eq!(names.iter().filter(|name| name.ends_with(".log.gz")).count(), 2, "{names:?}");
    }
}
