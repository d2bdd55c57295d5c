//! Reads one metric from a server's `/metrics`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result};

/// The value of metric `name`, which must have no labels.
///
/// # Errors
/// If the server does not answer or has no such metric.
pub(crate) fn read(address: &str, name: &str) -> Result<f64> {
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut page = String::new();
    socket.read_to_string(&mut page)?;
    value(&page, name).with_context(|| format!("{address} has no metric {name}"))
}

fn value(page: &str, name: &str) -> Option<f64> {
    let mut lines = page.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(found, _)| *found == name)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let page = "# HELP a_count How many.\na_counts 1\na_count{of=\"b\"} 2\na_count 3.5e+01\n";
        assert_eq!(value(page, "a_count"), Some(35.0));
        assert_eq!(value(page, "a"), None);
    }
}
