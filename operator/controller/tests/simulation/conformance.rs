//! The API server in memory answers as a real one does: a script of requests runs against both.
//!
//! # Commands
//!
//! ```text
//! create KIND NAME [JSON]      a new object: this, and the fields that every object needs
//! apply KIND NAME [JSON]       server-side apply, with force
//! merge KIND NAME JSON         a merge patch
//! delete KIND NAME [JSON]      with options
//! get KIND NAME
//! list KIND [LABELS]
//! gone KIND NAME               waits until the object is gone
//! ```
//!
//! `KIND` is the plural, with `/status` for that part. In JSON, `$NAME.uid` is the uid of the
//! object of that name, and `$NAME.2` is the second resource version that the script saw of it.
//! Options are `by=MANAGER`, `metadata=only`, and `show=PATHS`, which prints these parts of the
//! answer.
//!
//! An answer is the HTTP status with the reason of a refusal, or with the names in a list, or with
//! these facts about an object: whether its resource version is a new one for the script, its
//! generation, its finalizers, and its grace period if it is being deleted.

mod real;
mod script;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::api::{self, Objects};
use crate::calls::Calls;
use script::Script;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulation/scripts");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut scripts: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "there are scripts");
    scripts
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs all scripts. Each has the same output as in its file.
fn compare(mut script: Script) {
    let mut different = Vec::new();
    for path in scripts() {
        let expected = std::fs::read_to_string(&path).unwrap();
        let output = goldenscript::generate(&mut script, &expected).unwrap();
        let lines = output.lines().zip(expected.lines()).enumerate();
        let lines = lines.filter(|(_, (output, expected))| output != expected);
        different.extend(lines.map(|(number, (output, expected))| {
            format!("{}, line {}: {output:?}, not {expected:?}", path.display(), number + 1)
        }));
        assert!(!different.is_empty() || output == expected, "{}: {output}", path.display());
    }
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn the_api_in_memory_answers_as_the_scripts_say() {
    let runtime = runtime();
    let objects = Arc::new(Mutex::new(Objects::default()));
    let client = {
        let _inside = runtime.enter();
        let objects = Arc::clone(&objects);
        let server = move |request: &_| objects.lock().unwrap().answer(request);
        api::serve(Arc::new(server), Arc::new(Calls::default()))
    };
    let control = move || objects.lock().unwrap().control();
    compare(Script::new(runtime, client, Box::new(control)));
}

/// With `UPDATE_GOLDENFILES=1`, the answers of the real API server become those of the scripts.
#[test]
fn a_real_api_answers_as_the_scripts_say() {
    let Some(plane) = quorate_test_support::control_plane::ControlPlane::start("API scripts")
    else {
        return;
    };
    let runtime = runtime();
    let client = runtime.block_on(real::client(&plane.kubeconfig()));
    let mut script = Script::new(runtime, client, Box::new(|| {}));
    if std::env::var("UPDATE_GOLDENFILES").is_ok_and(|it| it == "1") {
        for path in scripts() {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, goldenscript::generate(&mut script, &text).unwrap()).unwrap();
        }
    } else {
        compare(script);
    }
}
