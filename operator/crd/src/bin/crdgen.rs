//! Writes the files that are generated from the types of the resources: `crdgen [ROOT]`, where ROOT
//! is the root of the repository, by default the working directory.

#![forbid(unsafe_code)]

use std::path::Path;
use std::{env, fs, io};

use quorate_crd::manifest;

fn main() -> io::Result<()> {
    let root = env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    for (path, text) in manifest::files() {
        let path = Path::new(&root).join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}
