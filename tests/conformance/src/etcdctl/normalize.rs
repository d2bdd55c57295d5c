//! The parts of etcdctl's output that are replaced before the comparison, each with the reason.

use std::sync::LazyLock;

use regex::Regex;

/// A part of the output that differs between two runs of one program, or that only one of the
/// servers has.
#[derive(Debug)]
pub struct Rule {
    pattern: &'static str,
    /// The replacement; `$1` is the pattern's first group.
    becomes: &'static str,
    /// Why the servers may differ here.
    pub why: &'static str,
}

const fn rule(pattern: &'static str, becomes: &'static str, why: &'static str) -> Rule {
    Rule { pattern, becomes, why }
}

/// All rules, in the order in which they are applied.
pub const RULES: &[Rule] = &[
    rule(r#""ts":"[^"]*""#, r#""ts":"<time>""#, "the time at which etcdctl logged a retry"),
    rule("0x[0-9a-f]{8,}", "<pointer>", "an address in etcdctl's memory, in its log"),
    rule("LocalAddr: '[^']*'", "LocalAddr: <port>", "the port that etcdctl was given for its side"),
    rule(r"took(:| =)? [0-9.]+(µs|ms|s)", "took$1 <time>", "how long a request took"),
    rule(r#""took":"[0-9.]+(µs|ms|s)""#, r#""took":"<time>""#, "how long a request took"),
    rule(r#""Took" : [0-9.]+(µs|ms|s)"#, r#""Took" : <time>"#, "how long a request took"),
    rule(r"│ +[0-9.]+(µs|ms|s) │", "│ <time> │", "how long a request took"),
    rule("─+", "─", "the width of a table's columns follows from times and sizes"),
    rule("│ +", "│ ", "the width of a table's columns follows from times and sizes"),
    rule(" +│", " │", "the width of a table's columns follows from times and sizes"),
    rule(
        r"[0-9.]+ [kMG]?B(, | │ )[0-9.]+ [kMG]?B(, | │ )\d+%",
        "<size>$1<size>$2<percent>",
        "two databases need different space for the same data",
    ),
    rule(
        r#""(dbSize|dbSizeInUse)":\d+"#,
        r#""$1":<size>"#,
        "two databases need different space for the same data",
    ),
    rule(
        r#""(DBSize|DBSizeInUse)" : \d+"#,
        r#""$1" : <size>"#,
        "two databases need different space for the same data",
    ),
    rule(
        r"(true|false)(, | │ )(true|false)(, | │ )(\d+)(, | │ )\d+(, | │ )\d+",
        "$1$2$3$4$5$6<index>$7<index>",
        "etcd's log has entries of its own, for versions and configuration",
    ),
    rule(
        r#""(raftIndex|raftAppliedIndex)":\d+"#,
        r#""$1":<index>"#,
        "etcd's log has entries of its own, for versions and configuration",
    ),
    rule(
        r#""(RaftIndex|RaftAppliedIndex)" : \d+"#,
        r#""$1" : <index>"#,
        "etcd's log has entries of its own, for versions and configuration",
    ),
    rule(
        " {2}alarm:",
        " alarm:",
        "some builds of etcd put two spaces between the fields of a text",
    ),
    rule(r"remaining\(\d+s\)", "remaining(<time>)", "seconds pass between two commands"),
    rule(r#""ttl":\d+,"granted-ttl""#, r#""ttl":<time>,"granted-ttl""#, "seconds pass"),
    rule(r#"("TTL" : )\d+(\n"GrantedTTL")"#, "$1<time>$2", "seconds pass"),
];

/// `text` with placeholders for addresses and lease ids, and with all rules applied. `addresses`
/// has one element, or all members of a cluster if a follower is asked.
pub(super) fn normalize(text: &str, addresses: &[String], leases: &[i64]) -> String {
    static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let compile = |rule: &Rule| (Regex::new(rule.pattern).expect("it is one"), rule.becomes);
        RULES.iter().map(compile).collect()
    });
    let mut plain = text.to_owned();
    for (number, address) in (1..).zip(addresses) {
        plain = plain.replace(address, &format!("<address {number}>"));
    }
    for (number, id) in (1..).zip(leases) {
        let name = format!("<lease {number}>");
        plain = plain.replace(&format!("{id:016x}"), &name).replace(&id.to_string(), &name);
    }
    for (pattern, becomes) in COMPILED.iter() {
        plain = pattern.replace_all(&plain, *becomes).into_owned();
    }
    once_each(&in_order(&plain, addresses.len() > 1))
}

/// Patterns of lists without a defined order, with the separators of their elements.
const ANY_ORDER: [(&str, &str); 4] = [
    // A lease's keys: etcd lists them in the order of a map.
    (r"attached keys\(\[([^\]]*)\]\)", " "),
    (r#""keys":\[([^\]]*)\]"#, ","),
    (r#"((?:"Key" : "[^"]*"\n){2,})"#, "\n"),
    // Members, in the order of their answers.
    (r"((?:[^\n]+ is healthy: [^\n]*\n){2,})", "\n"),
];

/// Like [`ANY_ORDER`], for answers of a follower. Only a leader can sort leases by remaining time;
/// etcd's followers list them in the order of a map.
const ANY_ORDER_BY_FOLLOWER: [(&str, &str); 3] = [
    (r"found \d+ leases\n((?:<lease \d+>\n)+)", "\n"),
    (r#""leases":\[([^\]]*)\]"#, ","),
    (r#"((?:"ID" : <lease \d+>\n){2,})"#, "\n"),
];

/// `text` with lists of undefined order sorted.
fn in_order(text: &str, by_follower: bool) -> String {
    type Lists = Vec<(Regex, &'static str)>;
    static COMPILED: LazyLock<[Lists; 2]> = LazyLock::new(|| {
        let compile = |lists: &[(&str, &'static str)]| -> Lists {
            let compiled = lists.iter().map(|(list, separator)| (Regex::new(list), *separator));
            compiled.map(|(list, separator)| (list.expect("it is one"), separator)).collect()
        };
        [compile(&ANY_ORDER), compile(&ANY_ORDER_BY_FOLLOWER)]
    });
    let mut sorted = text.to_owned();
    let [always, followers] = &*COMPILED;
    for (list, separator) in always.iter().chain(followers.iter().filter(|_| by_follower)) {
        let in_order = |found: &regex::Captures<'_>| {
            let whole = &found[0];
            let listed = &found[1];
            let mut each: Vec<&str> = listed.trim_end().split(separator).collect();
            each.sort_unstable();
            whole.replace(listed.trim_end(), &each.join(separator))
        };
        sorted = list.replace_all(&sorted, in_order).into_owned();
    }
    sorted
}

/// `text` without repeated progress reports: their number depends on timing.
fn once_each(text: &str) -> String {
    let mut kept = String::new();
    let mut last = "";
    for line in text.split_inclusive('\n') {
        if !line.starts_with("progress notify: ") || line != last {
            kept.push_str(line);
        }
        last = line;
    }
    kept
}

/// The server-chosen id of a granted lease, if the output is that of `lease grant`.
pub(super) fn granted_lease(stdout: &str) -> Option<i64> {
    static JSON: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#""ID":(\d+),"TTL":\d+,"Error""#).expect("it is one"));
    if let Some(found) = JSON.captures(stdout) {
        return found[1].parse().ok();
    }
    let (id, rest) = stdout.strip_prefix("lease ")?.split_once(" granted with TTL(")?;
    // `lease timetolive` prints nearly the same words.
    let is_grant = !rest.contains("remaining");
    is_grant.then(|| i64::from_str_radix(id, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_may_differ_are_replaced() {
        let status = "127.0.0.1:7, 58a8, 3.7.3, 3.7.0, 20 kB, 1.6 kB, 20%, 2.1 GB, \
                      true, false, 2, 4, 4, , , false";
        let expected = "<address 1>, 58a8, 3.7.3, 3.7.0, <size>, <size>, <percent>, 2.1 GB, \
                        true, false, 2, <index>, <index>, , , false";
        assert_eq!(normalize(status, &["127.0.0.1:7".to_owned()], &[]), expected);
        assert_eq!(
            normalize("lease 00000000000000ff x 255", &[], &[255]),
            "lease <lease 1> x <lease 1>"
        );
        assert_eq!(normalize("│  12.5ms │ true  │", &[], &[]), "│ <time> │ true │");
        for (keys, sorted) in [
            ("attached keys([b a])", "attached keys([a b])"),
            (r#""keys":["Yg==","YQ=="]"#, r#""keys":["YQ==","Yg=="]"#),
            ("\"Key\" : \"b\"\n\"Key\" : \"a\"\n", "\"Key\" : \"a\"\n\"Key\" : \"b\"\n"),
        ] {
            assert_eq!(normalize(keys, &[], &[]), sorted);
        }
        let leases = "found 2 leases\n000000000000000b\n000000000000000a\n";
        let named = "found 2 leases\n<lease 2>\n<lease 1>\n";
        assert_eq!(normalize(leases, &[], &[10, 11]), named);
        let members = ["m:1", "m:2", "m:3"].map(str::to_owned);
        let sorted = "found 2 leases\n<lease 1>\n<lease 2>\n";
        assert_eq!(normalize(leases, &members, &[10, 11]), sorted);
        let healthy = "b is healthy: x\na is healthy: x\n";
        assert_eq!(normalize(healthy, &[], &[]), "a is healthy: x\nb is healthy: x\n");
        let progress = "progress notify: 2\nprogress notify: 2\nprogress notify: 3\n";
        assert_eq!(normalize(progress, &[], &[]), "progress notify: 2\nprogress notify: 3\n");
        assert_eq!(granted_lease("lease 000000000000000a granted with TTL(9s)"), Some(10));
        let json = r#"{"raft_term":2,"ID":77,"TTL":9,"Error":""}"#;
        assert_eq!(granted_lease(json), Some(77));
    }
}
