//! The sets of values of both charts, and the comments and schemas of their values.

use quorate_test_charts::{Chart, Helm};
use quorate_test_support::assert_contains;
use serde_json::Value;

#[test]
fn sets_of_values_are_rendered_or_refused_with_words() {
    let Some(helm) = Helm::find("sets of values of the charts") else { return };
    for chart in [Chart::operator(), Chart::cluster()] {
        let folder = chart.folder().display().to_string();
        let sets = chart.value_sets();
        let refused = sets.iter().filter(|set| set.refusal.is_some()).count();
        assert!(refused >= 3 && sets.len() - refused >= 3, "too few sets in {folder}");
        for set in sets {
            let path = set.path.display().to_string();
            let said = helm.template(&chart, Some(&set.path));
            if let Some(words) = set.refusal {
                assert_contains(&said.expect_refusal(&path), &[&words]);
            } else {
                said.expect(&path);
                helm.run(&["lint", "--strict", "--values", &path, &folder]).expect(&path);
            }
        }
    }
}

#[test]
fn every_value_has_a_comment_and_a_schema() {
    for chart in [Chart::operator(), Chart::cluster()] {
        let name = chart.folder().display().to_string();
        let text = chart.text("values.yaml");
        let values = chart.document("values.yaml");
        let schema = chart.document("values.schema.json");
        let wrong = wrong_keys(&text, &values, &schema, "");
        assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
    }
}

/// Keys of the values without a comment above them, and keys that only the schema has.
fn wrong_keys(text: &str, values: &Value, schema: &Value, above: &str) -> Vec<String> {
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    let mut wrong = Vec::new();
    for (name, property) in properties {
        // Helm gives every chart this one, for values that charts share.
        if name == "global" {
            continue;
        }
        let path = format!("{above}/{name}");
        match values.get(name) {
            None => wrong.push(format!("{path}: not among the values")),
            Some(_) if !is_commented(text, &path) => wrong.push(format!("{path}: no comment")),
            Some(value) => wrong.extend(wrong_keys(text, value, property, &path)),
        }
    }
    wrong
}

/// Whether the line above the key at `path` is a comment.
fn is_commented(text: &str, path: &str) -> bool {
    let mut keys: Vec<(usize, &str)> = Vec::new();
    let mut before = "";
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some((key, _)) = content.split_once(':').filter(|_| !content.starts_with('#')) {
            keys.retain(|(other, _)| *other < indent);
            keys.push((indent, key));
            let here: String = keys.iter().map(|(_, key)| format!("/{key}")).collect();
            if here == path {
                return before.trim_start().starts_with('#');
            }
        }
        before = line;
    }
    false
}
