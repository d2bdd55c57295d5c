//! Removes the permissions of other users.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::error::DataDirError;

/// The permissions of a directory, less those in `forbidden`; `None` if it has no forbidden ones.
/// `can` names, for the error text, the access that the forbidden ones give: `read` or `change`.
///
/// # Errors
/// The directory has forbidden permissions and belongs to another user.
pub(super) fn excess_permissions(
    path: &Path,
    forbidden: u32,
    can: &'static str,
) -> Result<Option<u32>, DataDirError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| DataDirError::Io { path: path.to_owned(), source })?;
    let mode = metadata.mode() & 0o7777;
    // In a sticky directory other users can add files, but cannot replace ours.
    let is_safe = forbidden == 0o002 && mode & 0o1000 != 0;
    if mode & forbidden == 0 || is_safe {
        return Ok(None);
    }
    let owner = metadata.uid();
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        let path = path.to_owned();
        return Err(DataDirError::Permissions { path, mode: mode & 0o777, can, owner, user });
    }
    Ok(Some(mode & !forbidden))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), DataDirError> {
    tracing::info!(
        path = %path.display(),
        mode = format!("{mode:04o}"),
        "removed the permissions of other users"
    );
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|source| DataDirError::Io { path: path.to_owned(), source })
}

/// Removes the permissions of other users from the user's files and directories below `dir`.
pub(super) fn restrict(dir: &Path) -> Result<(), DataDirError> {
    let io_error = |source| DataDirError::Io { path: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        // This does not follow symbolic links.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Another process that uses the directory may have removed the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(error)),
        };
        let path = entry.path();
        let mode = metadata.mode() & 0o7777;
        let is_open = mode & 0o077 != 0 && !metadata.is_symlink();
        if is_open && metadata.uid() == rustix::process::geteuid().as_raw() {
            set_mode(&path, mode & !0o077)?;
        }
        if metadata.is_dir() {
            restrict(&path)?;
        }
    }
    Ok(())
}
