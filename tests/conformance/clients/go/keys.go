package main

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func (r *run) putTwice() string {
	r.put("put", "1")
	answer, err := r.Put(r.ctx, r.key("put"), "2", clientv3.WithPrevKV())
	must(err)
	now, err := r.Get(r.ctx, r.key("put"))
	must(err)
	kv := now.Kvs[0]
	return fmt.Sprintf("%s after %s, version %d, changed later: %t", kv.Value, answer.PrevKv.Value, kv.Version,
		kv.ModRevision > kv.CreateRevision)
}

// list is the keys and values of an answer.
func (r *run) list(answer *clientv3.GetResponse) string {
	var all []string
	for _, kv := range answer.Kvs {
		all = append(all, fmt.Sprintf("%s=%s", r.name(kv.Key), kv.Value))
	}
	return fmt.Sprintf("%s of %d, more: %t", strings.Join(all, " "), answer.Count, answer.More)
}

func (r *run) ranges() string {
	for name, value := range map[string]string{"range/a": "3", "range/b": "1", "range/c": "2"} {
		r.put(name, value)
	}
	var all []string
	for _, options := range [][]clientv3.OpOption{
		{clientv3.WithPrefix()},
		{clientv3.WithPrefix(), clientv3.WithLimit(2)},
		{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend)},
		{clientv3.WithPrefix(), clientv3.WithCountOnly()},
		{clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithSerializable()},
		{clientv3.WithRange(r.key("range/c"))},
	} {
		answer, err := r.Get(r.ctx, r.key("range/"), options...)
		must(err)
		all = append(all, r.list(answer))
	}
	return strings.Join(all, "; ")
}

func (r *run) deletions() string {
	r.put("delete/a", "1")
	r.put("delete/b", "2")
	r.put("delete/c", "3")
	one, err := r.Delete(r.ctx, r.key("delete/a"), clientv3.WithPrevKV())
	must(err)
	rest, err := r.Delete(r.ctx, r.key("delete/"), clientv3.WithPrefix())
	must(err)
	none, err := r.Delete(r.ctx, r.key("delete/"), clientv3.WithPrefix())
	must(err)
	return fmt.Sprintf("%d with %s, %d, %d", one.Deleted, one.PrevKvs[0].Value, rest.Deleted, none.Deleted)
}

func (r *run) transactions() string {
	key := r.key("txn")
	var all []string
	for _, value := range []string{"first", "second"} {
		answer, err := r.Txn(r.ctx).
			If(clientv3.Compare(clientv3.Version(key), "=", 0)).
			Then(clientv3.OpPut(key, value), clientv3.OpGet(key)).
			Else(clientv3.OpGet(key), clientv3.OpDelete(key, clientv3.WithPrevKV())).
			Commit()
		must(err)
		said := fmt.Sprint(answer.Succeeded)
		for _, part := range answer.Responses {
			switch {
			case part.GetResponsePut() != nil:
				said += " put"
			case part.GetResponseRange() != nil:
				said += fmt.Sprintf(" got %s", part.GetResponseRange().Kvs[0].Value)
			case part.GetResponseDeleteRange() != nil:
				said += fmt.Sprintf(" deleted %s", part.GetResponseDeleteRange().PrevKvs[0].Value)
			}
		}
		all = append(all, said)
	}
	return strings.Join(all, "; ")
}

// events reads this many events of a watch.
func (r *run) events(watch clientv3.WatchChan, count int) string {
	var all []string
	for len(all) < count {
		answer, is := <-watch
		if !is {
			panic("the watch has ended")
		}
		must(answer.Err())
		for _, event := range answer.Events {
			said := fmt.Sprintf("%s %s=%s", event.Type, r.name(event.Kv.Key), event.Kv.Value)
			if event.PrevKv != nil {
				said += fmt.Sprintf(" was %s", event.PrevKv.Value)
			}
			all = append(all, said)
		}
	}
	return strings.Join(all, ", ")
}

func (r *run) watch() string {
	options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify()}
	watch := r.Watch(r.ctx, r.key("watch/"), options...)
	if created := <-watch; !created.Created {
		panic("the watch is not created")
	}
	r.put("watch/a", "1")
	r.put("watch/a", "2")
	_, err := r.Delete(r.ctx, r.key("watch/"), clientv3.WithPrefix())
	must(err)
	return r.events(watch, 3)
}

func (r *run) history() string {
	from := r.put("history", "1")
	r.put("history", "2")
	_, err := r.Delete(r.ctx, r.key("history"))
	must(err)
	return r.events(r.Watch(r.ctx, r.key("history"), clientv3.WithRev(from)), 3)
}

func (r *run) compaction() string {
	from := r.put("compacted", "1")
	at := r.put("compacted", "2")
	_, err := r.Compact(r.ctx, at)
	must(err)
	_, again := r.Compact(r.ctx, at)
	_, read := r.Get(r.ctx, r.key("compacted"), clientv3.WithRev(from))
	end := <-r.Watch(r.ctx, r.key("compacted"), clientv3.WithRev(from))
	return fmt.Sprintf("%v; %v; %v, compacted where it was: %t", again, read, end.Err(), end.CompactRevision == at)
}
