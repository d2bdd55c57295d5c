//! The end of the process because of an error: the last line of the log, and the exit status.

use std::error::Error;
use std::process;

use parking_lot::Mutex;
use quorate_core::{EndReason, Ending};
use quorate_raft::{Exclusion, Inconsistent, StartError};
use quorate_storage::data_dir::DataDirError;

use crate::bootstrap::BootstrapError;
use crate::logging;

/// Held by the thread that ends the process.
static IS_ENDING: Mutex<()> = Mutex::new(());

/// Writes the last line of the log and ends the process. The first caller decides: another one
/// waits here until the process is gone, because errors that follow from the first add nothing.
pub(crate) fn end(ending: &Ending) -> ! {
    let _first = IS_ENDING.lock();
    logging::end(&format!("cannot continue: {ending}"), ending.reason);
    process::exit(ending.reason.map_or(1, |reason| i32::from(reason.exit_status())))
}

/// The ending for an error that `run` has returned.
pub(crate) fn of_error(error: &(dyn Error + 'static)) -> Ending {
    Ending { reason: reason(error), text: error.to_string() }
}

fn reason(error: &(dyn Error + 'static)) -> Option<EndReason> {
    if let Some(error) = error.downcast_ref::<DataDirError>() {
        return error.end_reason();
    }
    if let Some(error) = error.downcast_ref::<BootstrapError>() {
        return error.end_reason();
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        return error.end_reason();
    }
    if let Some(exclusion) = error.downcast_ref::<Exclusion>() {
        return Some(exclusion.end_reason());
    }
    error.is::<Inconsistent>().then_some(EndReason::Damaged)
}
