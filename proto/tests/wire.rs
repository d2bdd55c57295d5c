//! Compares our definitions with those of etcd 3.7.3, in both directions.
//!
//! A small Go program (`tests/conformance/descriptors`) prints the descriptors that etcd's packages
//! register. Each side is flattened into facts, for instance the number and type of a field. Two
//! sides with the same facts have the same encoding. File names, comments and options that do not
//! change the encoding are not facts.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::env;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
};
use quorate_proto::FILE_DESCRIPTOR_SET;

/// The facts of a definition, by kind and full name of the defined item.
type Facts = BTreeMap<String, String>;

/// Changes one fact of the definitions.
type Plant = fn(&mut FileDescriptorSet);

#[test]
fn definitions_are_those_of_etcd() {
    let Some(etcd) = descriptors_of_etcd() else {
        let required = env::var("QUORATE_REQUIRE").is_ok_and(|required| required == "all");
        assert!(!required, "QUORATE_REQUIRE=all, but `go` is not on this machine");
        // Not `eprintln!`: the test runner would swallow it, since the test passes.
        writeln!(io::stderr(), "SKIPPED: no `go` here, definitions not compared with etcd's")
            .expect("standard error is open");
        return;
    };
    let differences = differences(&facts(&ours()), &facts(&etcd));
    assert!(
        differences.is_empty(),
        "{} differences between our definitions and etcd's:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Makes one error of each kind in a copy, and expects exactly this difference.
#[test]
fn every_kind_of_difference_is_found() {
    let planted: [(&str, Plant); 8] = [
        ("field etcdserverpb.PutRequest.lease", |set| field(set).number = Some(7)),
        ("field etcdserverpb.PutRequest.lease", |set| field(set).type_name = Some(".a.B".into())),
        ("field etcdserverpb.PutRequest.lease", |set| field(set).json_name = Some("l".into())),
        ("field etcdserverpb.PutRequest.lease", |set| field(set).proto3_optional = Some(true)),
        ("message etcdserverpb.PutRequest.X", |set| {
            let nested = DescriptorProto { name: Some("X".into()), ..DescriptorProto::default() };
            message(set, "PutRequest").nested_type.push(nested);
        }),
        ("value etcdserverpb.RangeRequest.SortOrder.ASCEND", |set| {
            message(set, "RangeRequest").enum_type[0].value[1].number = Some(9);
        }),
        ("oneof etcdserverpb.Compare.target_union", |set| {
            // Without the oneof each of its fields differs too.
            message(set, "Compare").oneof_decl.clear();
            for field in &mut message(set, "Compare").field {
                field.oneof_index = None;
            }
        }),
        ("method etcdserverpb.KV.RangeStream", |set| {
            let service = &mut rpc(set).service[0];
            assert_eq!(service.method[1].name(), "RangeStream");
            service.method[1].server_streaming = Some(false);
        }),
    ];
    let right = facts(&ours());
    assert!(differences(&right, &right).is_empty());
    for (fact, plant) in planted {
        let mut set = ours();
        plant(&mut set);
        let found = differences(&facts(&set), &right);
        assert!(found.iter().any(|line| line.contains(fact)), "{fact} not in {found:#?}");
        assert!(found.len() == 1 || fact.starts_with("oneof"), "more than {fact}: {found:#?}");
    }
}

// === the two sides ===

fn ours() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build writes valid descriptors")
}

/// Runs the Go program. `None` if Go is not installed. Any other error fails the test, because a
/// comparison that does not run proves nothing.
fn descriptors_of_etcd() -> Option<FileDescriptorSet> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/descriptors");
    let output = Command::new("go")
        .args(["run", "-trimpath", "."])
        .env("CGO_ENABLED", "0")
        .current_dir(program)
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("start go: {error}"),
    };
    assert!(
        output.status.success(),
        "go run: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let set = FileDescriptorSet::decode(output.stdout.as_slice());
    Some(set.expect("the Go program prints valid descriptors"))
}

// === the comparison ===

/// One line for each fact that only one side has, or that differs.
fn differences(ours: &Facts, etcd: &Facts) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, fact) in ours {
        match etcd.get(name) {
            None => lines.push(format!("  {name}: ours only ({fact})")),
            Some(other) if other != fact => {
                lines.push(format!("  {name}: ours is ({fact}), etcd's is ({other})"));
            }
            Some(_) => {}
        }
    }
    for (name, fact) in etcd {
        if !ours.contains_key(name) {
            lines.push(format!("  {name}: etcd's only ({fact})"));
        }
    }
    lines
}

fn facts(set: &FileDescriptorSet) -> Facts {
    let mut facts = Facts::new();
    for file in &set.file {
        let package = file.package();
        state(&mut facts, format!("package {package}"), file.syntax().to_owned());
        for message in &file.message_type {
            message_facts(&mut facts, package, message);
        }
        for item in &file.enum_type {
            enum_facts(&mut facts, package, item);
        }
        for service in &file.service {
            let name = format!("{package}.{}", service.name());
            state(&mut facts, format!("service {name}"), String::new());
            for method in &service.method {
                let method_name = format!("method {name}.{}", method.name());
                state(&mut facts, method_name, method_fact(method));
            }
        }
    }
    facts
}

fn message_facts(facts: &mut Facts, parent: &str, message: &DescriptorProto) {
    let name = format!("{parent}.{}", message.name());
    state(facts, format!("message {name}"), String::new());
    for oneof in &message.oneof_decl {
        state(facts, format!("oneof {name}.{}", oneof.name()), String::new());
    }
    for field in &message.field {
        state(facts, format!("field {name}.{}", field.name()), field_fact(message, field));
    }
    for nested in &message.nested_type {
        message_facts(facts, &name, nested);
    }
    for item in &message.enum_type {
        enum_facts(facts, &name, item);
    }
}

fn field_fact(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let oneof = field.oneof_index.map_or("none", |index| {
        let index = usize::try_from(index).expect("an index is not negative");
        message.oneof_decl[index].name()
    });
    format!(
        "number {}, {}, {}, type name {:?}, oneof {oneof}, proto3_optional {}, packed {:?}, \
         json name {}",
        field.number(),
        field.label().as_str_name(),
        field.r#type().as_str_name(),
        field.type_name(),
        field.proto3_optional(),
        field.options.as_ref().and_then(|options| options.packed),
        field.json_name()
    )
}

fn enum_facts(facts: &mut Facts, parent: &str, item: &EnumDescriptorProto) {
    let name = format!("{parent}.{}", item.name());
    state(facts, format!("enum {name}"), String::new());
    for value in &item.value {
        let value_name = format!("value {name}.{}", value.name());
        state(facts, value_name, format!("number {}", value.number()));
    }
}

fn method_fact(method: &MethodDescriptorProto) -> String {
    let stream = |streaming| if streaming { "stream " } else { "" };
    format!(
        "{}{} -> {}{}",
        stream(method.client_streaming()),
        method.input_type(),
        stream(method.server_streaming()),
        method.output_type()
    )
}

/// Adds a fact. A duplicate would hide the first one, so it fails the test. Only a package may be
/// defined by several files.
fn state(facts: &mut Facts, name: String, fact: String) {
    let replaced = facts.insert(name.clone(), fact);
    assert!(replaced.is_none() || name.starts_with("package "), "{name} is defined twice");
}

// === where errors are planted ===

fn rpc(set: &mut FileDescriptorSet) -> &mut prost_types::FileDescriptorProto {
    set.file.iter_mut().find(|file| file.package() == "etcdserverpb").expect("is defined")
}

fn message<'a>(set: &'a mut FileDescriptorSet, name: &str) -> &'a mut DescriptorProto {
    rpc(set).message_type.iter_mut().find(|message| message.name() == name).expect("is defined")
}

fn field(set: &mut FileDescriptorSet) -> &mut FieldDescriptorProto {
    let fields = &mut message(set, "PutRequest").field;
    fields.iter_mut().find(|field| field.name() == "lease").expect("is defined")
}
