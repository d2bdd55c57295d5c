//! How failed members are replaced.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Span;

/// How failed members are replaced.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Repair {
    /// How long a member may be unreachable before a new one takes its place. The operator replaces
    /// members one at a time, and only while a majority is healthy. The old volume is kept. The
    /// default is 5m.
    pub replace_after: Span,
}

impl Default for Repair {
    fn default() -> Self {
        Self { replace_after: Span::from("5m") }
    }
}
