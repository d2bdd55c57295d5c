package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

// Transfers between accounts leave their sum as it is.
func stm(t *trial) {
	const accounts, each = 5, 100
	key := func(number int) string { return t.key("account/" + strconv.Itoa(number)) }
	client := t.client()
	defer client.Close()
	for number := range accounts {
		t.put(client, key(number), strconv.Itoa(each))
	}
	together(4, func(worker int) {
		for t.runs() {
			if worker == 0 {
				sum := 0
				for _, row := range t.get(client, t.key("account/"), clientv3.WithPrefix()).Kvs {
					value, err := strconv.Atoi(string(row.Value))
					if err != nil {
						panic(err)
					}
					sum += value
				}
				if sum != accounts*each {
					t.breaks("the sum is %d", sum)
				}
				continue
			}
			ctx, cancel := within()
			from, to := rand.IntN(accounts), rand.IntN(accounts)
			_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
				amount := rand.IntN(10)
				for _, step := range []struct{ account, amount int }{{from, -amount}, {to, amount}} {
					value, err := strconv.Atoi(stm.Get(key(step.account)))
					if err != nil {
						return err
					}
					stm.Put(key(step.account), strconv.Itoa(value+step.amount))
				}
				return nil
			}, concurrency.WithAbortContext(ctx))
			cancel()
			if t.ok(err) {
				t.done.Add(1)
			}
		}
	})
}

// A client that caches keys under a lease reads no value older than one that was acknowledged before.
func leases(t *trial) {
	stores := [2]clientv3.KV{}
	for number := range stores {
		client := t.client()
		defer client.Close()
		store, closes, err := leasing.NewKV(client, t.key("leases/"))
		if err != nil {
			t.breaks("no leasing store: %v", err)
			return
		}
		defer closes()
		stores[number] = store
	}
	key := t.key("key")
	newest := 0
	for value := 1; t.runs(); value++ {
		ctx, cancel := within()
		if _, err := stores[rand.IntN(2)].Put(ctx, key, strconv.Itoa(value)); t.ok(err) {
			newest = value
		}
		for _, store := range stores {
			answer, err := store.Get(ctx, key)
			if !t.ok(err) {
				continue
			}
			read := 0
			if len(answer.Kvs) > 0 {
				if read, err = strconv.Atoi(string(answer.Kvs[0].Value)); err != nil {
					panic(err)
				}
			}
			if read < newest || read > value {
				t.breaks("%d was read after %d was written", read, newest)
			}
			t.done.Add(1)
		}
		cancel()
	}
}

// Reads from any member never go back in time.
func order(t *trial) {
	client := t.client()
	defer client.Close()
	store := ordering.NewKV(client.KV, ordering.NewOrderViolationSwitchEndpointClosure(client))
	before, beforeValue := int64(0), 0
	for value := 1; t.runs(); value++ {
		t.put(client, t.key("key"), strconv.Itoa(value))
		ctx, cancel := within()
		answer, err := store.Get(ctx, t.key("key"), clientv3.WithSerializable())
		cancel()
		if err == ordering.ErrNoGreaterRev {
			// Every member that was asked lags behind. The store gives up for good.
			store = ordering.NewKV(client.KV, ordering.NewOrderViolationSwitchEndpointClosure(client))
			before, beforeValue = 0, 0
		}
		if !t.ok(err) || len(answer.Kvs) == 0 {
			continue
		}
		read, err := strconv.Atoi(string(answer.Kvs[0].Value))
		if err != nil {
			panic(err)
		}
		if answer.Header.Revision < before || read < beforeValue {
			t.breaks("%d at %d after %d at %d", read, answer.Header.Revision, beforeValue, before)
		}
		before, beforeValue = answer.Header.Revision, read
		t.done.Add(1)
	}
}

// A namespace shows its keys without the prefix, and nothing else.
func names(t *trial) {
	client := t.client()
	defer client.Close()
	prefix := t.key("space/")
	store := namespace.NewKV(client.KV, prefix)
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	events := namespace.NewWatcher(client.Watcher, prefix).Watch(watching, "key/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	t.put(client, t.key("outside"), "x")
	count := 0
	for ; t.runs(); count++ {
		t.put(store, fmt.Sprintf("key/%d", count), "v")
		inside := t.get(store, "", clientv3.WithPrefix(), clientv3.WithCountOnly()).Count
		raw := t.get(client, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly()).Count
		if inside != raw || inside != int64(count+1) {
			t.breaks("%d keys inside, %d outside, %d written", inside, raw, count+1)
		}
		t.done.Add(1)
	}
	seen := map[string]bool{}
	if !ends(endWithin, func() {
		for len(seen) < count {
			for _, event := range (<-events).Events {
				if !strings.HasPrefix(string(event.Kv.Key), "key/") {
					t.breaks("the watch tells %q", event.Kv.Key)
				}
				seen[string(event.Kv.Key)] = true
			}
		}
	}) {
		t.breaks("the watch has told less than %d keys", count)
	}
}

// A mirror has what the original has.
func mirrors(t *trial) {
	client := t.client()
	defer client.Close()
	prefix := t.key("original/")
	for number := range 10 {
		t.put(client, prefix+strconv.Itoa(number), "base")
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var copies map[string]string
	var syncer mirror.Syncer
	for {
		copies = map[string]string{}
		syncer = mirror.NewSyncer(client, prefix, 0)
		pages, failed := syncer.SyncBase(ctx)
		for page := range pages {
			for _, row := range page.Kvs {
				copies[string(row.Key)] = string(row.Value)
			}
		}
		if t.ok(<-failed) {
			break
		}
	}
	updates := syncer.SyncUpdates(ctx)
	for step := 0; t.runs(); step++ {
		key := prefix + strconv.Itoa(rand.IntN(20))
		if rand.IntN(4) == 0 {
			surely(t, func(ctx context.Context) (*clientv3.DeleteResponse, error) { return client.Delete(ctx, key) })
		} else {
			t.put(client, key, strconv.Itoa(step))
		}
		t.done.Add(1)
	}
	end := t.put(client, prefix+"end", "x")
	if !ends(endWithin, func() {
		for seen := int64(0); seen < end; {
			for _, event := range (<-updates).Events {
				seen = event.Kv.ModRevision
				if event.Type == clientv3.EventTypeDelete {
					delete(copies, string(event.Kv.Key))
				} else {
					copies[string(event.Kv.Key)] = string(event.Kv.Value)
				}
			}
		}
	}) {
		t.breaks("the mirror did not get to revision %d", end)
		return
	}
	original := map[string]string{}
	for _, row := range t.get(client, prefix, clientv3.WithPrefix()).Kvs {
		original[string(row.Key)] = string(row.Value)
	}
	if fmt.Sprint(original) != fmt.Sprint(copies) {
		t.breaks("the mirror has %v, the original %v", copies, original)
	}
}
