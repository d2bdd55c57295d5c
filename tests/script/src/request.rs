//! Parses arguments into requests.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use quorate_proto::etcdserverpb::alarm_request::AlarmAction;
use quorate_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use quorate_proto::etcdserverpb::watch_create_request::FilterType;
use quorate_proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, HashKvRequest,
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    PutRequest, RangeRequest, WatchCreateRequest,
};

use crate::args::{Args, bytes, number};

/// The `range_end` of a range without upper bound.
const FROM_KEY: &[u8] = b"\0";

/// An enumeration's value: a name, or any number.
pub(crate) fn enumeration(text: &str, by_name: impl FnOnce(&str) -> Option<i32>) -> Result<i32> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => {
            by_name(&text.to_ascii_uppercase()).with_context(|| format!("'{text}' is not known"))
        }
    }
}

/// A key and a range end, from `end=`, `prefix` or `from-key`.
pub(crate) fn key_and_end(args: &mut Args) -> Result<(Bytes, Bytes)> {
    let key = bytes(&args.word("key")?);
    let prefix = args.flag("prefix");
    let from_key = args.flag("from-key");
    let end = args.value("end").map(|end| bytes(&end));
    let end = match (end, prefix, from_key) {
        (Some(end), false, false) => end,
        (None, true, false) => prefix_end(&key),
        (None, false, true) => Bytes::from_static(FROM_KEY),
        (None, false, false) => Bytes::new(),
        _ => bail!("a range has one end"),
    };
    Ok((key, end))
}

/// The first key after all keys that start with `prefix`; unbounded if there is none.
fn prefix_end(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(FROM_KEY)
}

pub(crate) fn put(args: &mut Args) -> Result<PutRequest> {
    let key = bytes(&args.word("key")?);
    let prev_kv = args.flag("prev_kv");
    let ignore_value = args.flag("ignore_value");
    let ignore_lease = args.flag("ignore_lease");
    let lease = args.number("lease")?;
    let mut value = bytes(&args.next_word().unwrap_or_default());
    if let Some(size) = args.value("size") {
        let size = usize::try_from(number(&size)?)?;
        ensure!(!value.is_empty(), "a value with a size repeats something");
        value = value.iter().copied().cycle().take(size).collect();
    }
    Ok(PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease })
}

pub(crate) fn range(args: &mut Args) -> Result<RangeRequest> {
    let (key, range_end) = key_and_end(args)?;
    let sort = args.value("sort").unwrap_or_default();
    let (target, order) = sort.split_once('-').unwrap_or((&sort, ""));
    let sort_target = match target {
        "" => SortTarget::Key as i32,
        name => enumeration(name, |n| SortTarget::from_str_name(n).map(Into::into))?,
    };
    let sort_order = match order {
        "" => SortOrder::None as i32,
        "asc" => SortOrder::Ascend as i32,
        "desc" => SortOrder::Descend as i32,
        other => enumeration(other, |_| None)?,
    };
    Ok(RangeRequest {
        key,
        range_end,
        limit: args.number("limit")?,
        revision: args.number("rev")?,
        sort_order,
        sort_target,
        serializable: args.flag("serializable"),
        keys_only: args.flag("keys_only"),
        count_only: args.flag("count_only"),
        min_mod_revision: args.number("min_mod")?,
        max_mod_revision: args.number("max_mod")?,
        min_create_revision: args.number("min_create")?,
        max_create_revision: args.number("max_create")?,
    })
}

pub(crate) fn delete(args: &mut Args) -> Result<DeleteRangeRequest> {
    let (key, range_end) = key_and_end(args)?;
    Ok(DeleteRangeRequest { key, range_end, prev_kv: args.flag("prev_kv") })
}

pub(crate) fn compact(args: &mut Args) -> Result<CompactionRequest> {
    let physical = args.flag("physical");
    Ok(CompactionRequest { revision: args.word_number("revision")?, physical })
}

pub(crate) fn grant(args: &mut Args) -> Result<LeaseGrantRequest> {
    Ok(LeaseGrantRequest { ttl: args.word_number("TTL")?, id: args.number("id")? })
}

pub(crate) fn revoke(args: &mut Args) -> Result<LeaseRevokeRequest> {
    Ok(LeaseRevokeRequest { id: args.word_number("id")? })
}

pub(crate) fn time_to_live(args: &mut Args) -> Result<LeaseTimeToLiveRequest> {
    let keys = args.flag("keys");
    Ok(LeaseTimeToLiveRequest { id: args.word_number("id")?, keys })
}

pub(crate) fn keep_alive(args: &mut Args) -> Result<LeaseKeepAliveRequest> {
    Ok(LeaseKeepAliveRequest { id: args.word_number("id")? })
}

pub(crate) fn hash_kv(args: &mut Args) -> Result<HashKvRequest> {
    Ok(HashKvRequest { revision: args.number("rev")? })
}

/// An alarm request; `member=self` stands for `this_member`.
pub(crate) fn alarm(args: &mut Args, this_member: u64) -> Result<AlarmRequest> {
    let action = args.word("action")?;
    let action = enumeration(&action, |n| AlarmAction::from_str_name(n).map(Into::into))?;
    let alarm = match args.next_word() {
        Some(name) => enumeration(&name, |n| AlarmType::from_str_name(n).map(Into::into))?,
        None => AlarmType::None as i32,
    };
    let member_id = match args.value("member") {
        None => 0,
        Some(name) if name == "self" => this_member,
        Some(id) => u64::try_from(number(&id)?)?,
    };
    Ok(AlarmRequest { action, member_id, alarm })
}

pub(crate) fn watch(args: &mut Args) -> Result<WatchCreateRequest> {
    let (key, range_end) = key_and_end(args)?;
    let mut filters = Vec::new();
    if args.flag("no_put") {
        filters.push(FilterType::Noput as i32);
    }
    if args.flag("no_delete") {
        filters.push(FilterType::Nodelete as i32);
    }
    if let Some(filter) = args.value("filter") {
        filters.push(enumeration(&filter, |_| None)?);
    }
    Ok(WatchCreateRequest {
        key,
        range_end,
        start_revision: args.number("start")?,
        progress_notify: args.flag("progress_notify"),
        filters,
        prev_kv: args.flag("prev_kv"),
        watch_id: args.number("id")?,
        fragment: args.flag("fragment"),
    })
}
