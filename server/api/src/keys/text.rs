//! The text of lists and events.

use std::fmt::Write as _;

use quorate_proto::etcdserverpb::WatchResponse;
use quorate_proto::mvccpb::KeyValue;
use quorate_proto::mvccpb::event::EventType;

/// Appends bytes as text on one line. ASCII control characters, backslashes and bytes that are not
/// UTF-8 are escaped.
fn push(line: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => line.push_str("\\\\"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                '\t' => line.push_str("\\t"),
                '\0'..' ' | '\x7f' => push_byte(line, letter as u8),
                letter => line.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(line, *byte));
    }
}

fn push_byte(line: &mut String, byte: u8) {
    write!(line, "\\x{byte:02x}").expect("a string takes any text");
}

/// Keys with their values. Each line has one key: the key, a tab, the value.
pub(super) fn lines(rows: &[KeyValue]) -> String {
    let mut lines = String::new();
    for row in rows {
        push(&mut lines, &row.key);
        lines.push('\t');
        push(&mut lines, &row.value);
        lines.push('\n');
    }
    lines
}

/// The server-sent events for a message of a watch. Only the last event of a revision has the
/// revision as its id, so that a client that resumes misses no event. The last event of a fragment
/// has no id, because more events of its revision may follow.
pub(super) fn events(message: &WatchResponse) -> String {
    let revision = message.header.as_ref().map_or(0, |header| header.revision);
    let mut text = String::new();
    if message.created {
        text = format!(": from revision {}\n\n", revision + 1);
    }
    if message.compact_revision > 0 {
        let first = message.compact_revision;
        return text + &format!("id: {}\nevent: compacted\ndata: {first}\n\n", first - 1);
    }
    if message.canceled {
        return text + &format!("event: error\ndata: {}\n\n", message.cancel_reason);
    }
    let mut events = message.events.iter().peekable();
    while let Some(event) = events.next() {
        let Some(row) = &event.kv else { continue };
        let next = events.peek().and_then(|event| event.kv.as_ref());
        let is_last = match next {
            Some(next) => next.mod_revision != row.mod_revision,
            None => !message.fragment,
        };
        if is_last {
            text += &format!("id: {}\n", row.mod_revision);
        }
        let is_delete = event.r#type == EventType::Delete as i32;
        text.push_str(if is_delete { "event: delete\ndata: " } else { "event: put\ndata: " });
        push(&mut text, &row.key);
        if !is_delete {
            text.push('\t');
            push(&mut text, &row.value);
        }
        text.push_str("\n\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use quorate_proto::mvccpb::Event;

    use super::*;

    #[test]
    fn lines_have_no_control_characters() {
        let row = KeyValue {
            key: "a\\b\u{e9}".into(),
            value: b"1\n\t\r\x00\x7f\xff"[..].into(),
            ..KeyValue::default()
        };
        assert_eq!(lines(&[row]), "a\\\\b\u{e9}\t1\\n\\t\\r\\x00\\x7f\\xff\n");
    }

    #[test]
    fn a_revision_ends_with_its_id() {
        let event = |key: &'static str, mod_revision| Event {
            kv: Some(KeyValue { key: key.into(), mod_revision, ..KeyValue::default() }),
            ..Event::default()
        };
        let message = WatchResponse {
            events: vec![event("a", 5), event("b", 5), event("c", 6)],
            ..WatchResponse::default()
        };
        let wanted = "event: put\ndata: a\t\n\nid: 5\nevent: put\ndata: b\t\n\n\
                      id: 6\nevent: put\ndata: c\t\n\n";
        assert_eq!(events(&message), wanted);
        let fragment = WatchResponse { fragment: true, ..message };
        assert_eq!(events(&fragment), wanted.replace("id: 6\n", ""));
        let message = WatchResponse { compact_revision: 9, canceled: true, ..Default::default() };
        assert_eq!(events(&message), "id: 8\nevent: compacted\ndata: 9\n\n");
    }
}
