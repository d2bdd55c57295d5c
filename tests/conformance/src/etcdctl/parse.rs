//! Parses scripts.

/// A line of a script, with its lines of standard input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Run a command and wait for its end.
    Command { words: Vec<String>, stdin: String },
    /// Run a command in the background.
    Start { words: Vec<String>, stdin: String },
    /// Wait until the background command has printed this many more lines.
    Await(usize),
    /// Wait until it has printed this line.
    AwaitText(String),
    /// Write a line to its standard input.
    Tell(String),
    /// Stop it.
    Stop,
    /// Show the client certificate of this name.
    As(String),
}

/// Values of a script's variables.
pub(super) struct Variables<'a> {
    pub(super) leases: &'a [i64],
}

impl Variables<'_> {
    /// `text` with `$leaseN` and `$xN` replaced.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            let name_end = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
            let (name, behind) = after.split_at(name_end);
            filled.push_str(&self.value(name));
            rest = behind;
        }
        filled + rest
    }

    fn value(&self, name: &str) -> String {
        if let Some(Ok(number)) = name.strip_prefix("lease").map(str::parse::<usize>) {
            let id = self.leases.get(number - 1);
            let id = id.unwrap_or_else(|| panic!("lease {number} was never granted"));
            return format!("{id:016x}");
        }
        match name.strip_prefix('x').map(str::parse) {
            Some(Ok(count)) => "x".repeat(count),
            _ => panic!("${name} stands for nothing"),
        }
    }
}

/// Parses a script.
pub(super) fn lines(script: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for text in script.lines().map(str::trim) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(input) = text.strip_prefix('|') {
            let Some(Line::Command { stdin, .. } | Line::Start { stdin, .. }) = lines.last_mut()
            else {
                panic!("there is no command that could read {text:?}");
            };
            stdin.push_str(input.strip_prefix(' ').unwrap_or(input));
            stdin.push('\n');
            continue;
        }
        lines.push(line(text));
    }
    lines
}

fn line(text: &str) -> Line {
    let mut words = words(text);
    let stdin = String::new();
    match words[0].as_str() {
        "start" => Line::Start { words: words.split_off(1), stdin },
        "await" => match words[1].parse() {
            Ok(lines) => Line::Await(lines),
            Err(_) => Line::AwaitText(words[1..].join(" ")),
        },
        "tell" => Line::Tell(words[1..].join(" ")),
        "stop" => Line::Stop,
        "as" => Line::As(words.swap_remove(1)),
        _ => Line::Command { words, stdin },
    }
}

/// Splits a line into words. Text in single quotes belongs to one word.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    assert!(!quoted, "{line:?} has an open quote");
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_parsed() {
        let script = "
            # nothing
            put 'a b' ''
            start watch a
            | x
            |
            await 2
            await some text
            tell progress now
            stop
            as alice
        ";
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let expected = [
            Line::Command { words: owned(&["put", "a b", ""]), stdin: String::new() },
            Line::Start { words: owned(&["watch", "a"]), stdin: "x\n\n".to_owned() },
            Line::Await(2),
            Line::AwaitText("some text".to_owned()),
            Line::Tell("progress now".to_owned()),
            Line::Stop,
            Line::As("alice".to_owned()),
        ];
        assert_eq!(lines(script), expected);
    }

    #[test]
    fn variables_are_filled_in() {
        let variables = Variables { leases: &[1, 0x70ab] };
        assert_eq!(variables.fill("--lease=$lease2, $x3"), "--lease=00000000000070ab, xxx");
    }
}
