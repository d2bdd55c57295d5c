//! The files that git tracks or would add.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The files of a repository. Paths are relative to its root and separated by `/`.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// Contents by path; empty for files that are not UTF-8.
    pub files: BTreeMap<String, String>,
}

impl Repository {
    /// Reads the repository at `root`: tracked files, and new ones that are not ignored.
    ///
    /// # Panics
    /// When `git` fails there.
    pub fn read(root: &Path) -> Self {
        let list = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(root)
            .output()
            .expect("git runs");
        assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
        let names = String::from_utf8(list.stdout).expect("names are UTF-8");
        let files = names
            .split_terminator('\0')
            // git lists a deleted file until the deletion is committed.
            .filter_map(|name| Some((name.to_owned(), std::fs::read(root.join(name)).ok()?)))
            .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap_or_default()))
            .collect();
        Self { files }
    }

    /// The paths and contents of the files that end in `extension`, which includes its dot.
    pub fn with_extension<'a>(
        &'a self,
        extension: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let files = self.files.iter().filter(move |(path, _)| path.ends_with(extension));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }
}
