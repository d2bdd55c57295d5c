//! Reads the settings of etcd that have no meaning here: checks their values, and names their
//! substitutes.

use super::reader::Reader;
use crate::flags::{self, Replaced, Takes};

pub(super) fn read(reader: &mut Reader<'_>) {
    for Replaced { name, takes, default, instead } in flags::replaced() {
        match takes {
            Takes::Bool => {
                reader.switch(name);
            }
            Takes::Time => {
                reader.duration(name);
            }
            Takes::Number(_) => {
                reader.number::<i64>(name, "a whole number");
            }
            Takes::Value(_) => {}
        }
        if reader.settings.is_given(name) && reader.settings.get(name) != default {
            reader.warn(format!("--{name} has no effect: {instead}"));
        }
    }
}
