//! Keys, and watches of them.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget, Txn,
    TxnOp, TxnOpResponse, WatchOptions,
};

use crate::{Outcome, Run, failure, text};

pub async fn put(run: &Run, client: &mut Client) -> Outcome {
    run.put(client, "put", "1").await?;
    let with_previous = PutOptions::new().with_prev_key();
    let answer = client.put(run.key("put"), "2", Some(with_previous)).await?;
    let before = answer.prev_key().map(text);
    let now = client.get(run.key("put"), None).await?;
    let pair = &now.kvs()[0];
    let is_later = pair.mod_revision() > pair.create_revision();
    let (value, version) = (text(pair), pair.version());
    Ok(format!("{value} after {before:?}, version {version}, changed later: {is_later}"))
}

pub async fn range(run: &Run, client: &mut Client) -> Outcome {
    for (name, value) in [("range/a", "3"), ("range/b", "1"), ("range/c", "2")] {
        run.put(client, name, value).await?;
    }
    let all = || GetOptions::new().with_prefix();
    let mut texts = Vec::new();
    for options in [
        all(),
        all().with_limit(2),
        all().with_sort(SortTarget::Value, SortOrder::Descend),
        all().with_count_only(),
        all().with_keys_only().with_serializable(),
        GetOptions::new().with_range(run.key("range/c")),
    ] {
        let answer = client.get(run.key("range/"), Some(options)).await?;
        let (list, count, more) = (run.list(answer.kvs()), answer.count(), answer.more());
        texts.push(format!("{list} of {count}, more: {more}"));
    }
    Ok(texts.join("; "))
}

pub async fn delete(run: &Run, client: &mut Client) -> Outcome {
    for name in ["delete/a", "delete/b", "delete/c"] {
        run.put(client, name, "1").await?;
    }
    let with_previous = DeleteOptions::new().with_prev_key();
    let one = client.delete(run.key("delete/a"), Some(with_previous)).await?;
    let all = || Some(DeleteOptions::new().with_prefix());
    let rest = client.delete(run.key("delete/"), all()).await?;
    let none = client.delete(run.key("delete/"), all()).await?;
    Ok(format!("{}, {}, {}", run.list(one.prev_kvs()), rest.deleted(), none.deleted()))
}

pub async fn txn(run: &Run, client: &mut Client) -> Outcome {
    let key = || run.key("txn");
    let mut texts = Vec::new();
    for value in ["first", "second"] {
        let txn = Txn::new()
            .when([Compare::version(key(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key(), value, None), TxnOp::get(key(), None)])
            .or_else([TxnOp::get(key(), None), TxnOp::delete(key(), None)]);
        let answer = client.txn(txn).await?;
        let parts = answer.op_responses().into_iter().map(|part| match part {
            TxnOpResponse::Put(_) => "put".to_owned(),
            TxnOpResponse::Get(read) => format!("got {}", run.list(read.kvs())),
            TxnOpResponse::Delete(deletion) => format!("deleted {}", deletion.deleted()),
            TxnOpResponse::Txn(_) => "txn".to_owned(),
        });
        let parts = parts.collect::<Vec<_>>().join(" ");
        texts.push(format!("{} {parts}", answer.succeeded()));
    }
    Ok(texts.join("; "))
}

pub async fn watch(run: &Run, client: &mut Client) -> Outcome {
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut watch = run.watch(client, "watch/", options).await?;
    run.put(client, "watch/a", "1").await?;
    run.put(client, "watch/a", "2").await?;
    client.delete(run.key("watch/a"), None).await?;
    run.events(&mut watch, 3).await
}

pub async fn history(run: &Run, client: &mut Client) -> Outcome {
    let from = run.put(client, "history", "1").await?;
    run.put(client, "history", "2").await?;
    client.delete(run.key("history"), None).await?;
    let options = WatchOptions::new().with_start_revision(from);
    let mut watch = run.watch(client, "history", options).await?;
    run.events(&mut watch, 3).await
}

pub async fn compaction(run: &Run, client: &mut Client) -> Outcome {
    let old = run.put(client, "compacted", "1").await?;
    let at = run.put(client, "compacted", "2").await?;
    client.compact(at, None).await?;
    let again = failure(client.compact(at, None).await);
    let key = run.key("compacted");
    let read = client.get(key, Some(GetOptions::new().with_revision(old))).await;
    let options = WatchOptions::new().with_start_revision(old);
    let mut watch = run.watch(client, "compacted", options).await?;
    let end = watch.message().await?.expect("the watch says why it ends");
    let is_there = end.compact_revision() == at;
    let is_canceled = end.canceled();
    let read = failure(read);
    Ok(format!("{again}; {read}; canceled: {is_canceled}, compacted where it was: {is_there}"))
}
