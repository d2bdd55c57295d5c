//! Label selectors.

use serde_json::Value;

/// Whether an object has the labels that a selector asks for: `key=value` and `key`, separated by
/// commas.
///
/// # Panics
/// At other forms, which the operator does not use.
pub(crate) fn matches(selector: &str, object: &Value) -> bool {
    selector.split(',').filter(|term| !term.is_empty()).all(|term| {
        assert!(!term.contains(['!', '(', ' ']), "the selector {selector:?} is not known here");
        let (key, wanted) = match term.split_once('=') {
            Some((key, value)) => (key, Some(value.trim_start_matches('='))),
            None => (term, None),
        };
        let label = object["metadata"]["labels"][key].as_str();
        label.is_some() && (wanted.is_none() || label == wanted)
    })
}
