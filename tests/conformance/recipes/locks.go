package main

import (
	"context"
	"strconv"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

// Longer than any run, so that no session ends by itself.
const sessionSeconds = 600

// withSessions runs a function with one new session after the other, and ends each session for sure.
func (t *trial) withSessions(client *clientv3.Client, use func(*concurrency.Session)) {
	for t.runs() {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(sessionSeconds))
		if !t.ok(err) {
			continue
		}
		use(session)
		session.Orphan()
		surely(t, func(ctx context.Context) (struct{}, error) {
			// The answer to an earlier attempt may be lost.
			if left, err := client.TimeToLive(ctx, session.Lease()); err != nil || left.TTL < 0 {
				return struct{}{}, err
			}
			_, err := client.Revoke(ctx, session.Lease())
			return struct{}{}, err
		})
	}
}

// A number that a mutex protects, and the bounds of what it must be in the end.
type count struct {
	key                   string
	acknowledged, unknown atomic.Int64
}

func (c *count) value(t *trial, client clientv3.KV) int64 {
	rows := t.get(client, c.key).Kvs
	if len(rows) == 0 {
		return 0
	}
	value, err := strconv.ParseInt(string(rows[0].Value), 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func (c *count) check(t *trial) {
	client := t.client()
	defer client.Close()
	value, least := c.value(t, client), c.acknowledged.Load()
	if most := least + c.unknown.Load(); value < least || value > most {
		t.breaks("the count is %d after %d to %d steps", value, least, most)
	}
}

// An owner of the mutex writes what it has read plus one. No other owner can come between.
func mutex(t *trial) {
	counter := count{key: t.key("count")}
	var owners atomic.Int32
	together(4, func(int) {
		client := t.client()
		defer client.Close()
		t.withSessions(client, func(session *concurrency.Session) {
			lock := concurrency.NewMutex(session, t.key("lock"))
			ctx, cancel := context.WithTimeout(context.Background(), endWithin)
			defer cancel()
			if !t.ok(lock.Lock(ctx)) {
				return
			}
			if now := owners.Add(1); now != 1 {
				t.breaks("%d owners at once", now)
			}
			next := strconv.FormatInt(counter.value(t, client)+1, 10)
			answer, err := client.Txn(ctx).If(lock.IsOwner()).Then(clientv3.OpPut(counter.key, next)).Commit()
			switch {
			case !t.ok(err):
				counter.unknown.Add(1)
			case !answer.Succeeded:
				t.breaks("an owner has lost its key")
			default:
				counter.acknowledged.Add(1)
				t.done.Add(1)
			}
			owners.Add(-1)
			t.ok(lock.Unlock(ctx))
		})
	})
	counter.check(t)
}

// A writer is alone; readers are not with a writer.
func readWriteMutex(t *trial) {
	var readers, writers atomic.Int32
	together(4, func(number int) {
		client := t.client()
		defer client.Close()
		t.withSessions(client, func(session *concurrency.Session) {
			lock := recipe.NewRWMutex(session, t.key("lock"))
			if number < 2 {
				if !t.ok(lock.Lock()) {
					return
				}
				if now := writers.Add(1); now != 1 || readers.Load() != 0 {
					t.breaks("%d writers and %d readers", now, readers.Load())
				}
				writers.Add(-1)
				t.ok(lock.Unlock())
			} else {
				if !t.ok(lock.RLock()) {
					return
				}
				readers.Add(1)
				if now := writers.Load(); now != 0 {
					t.breaks("a reader and %d writers", now)
				}
				readers.Add(-1)
				t.ok(lock.RUnlock())
			}
			t.done.Add(1)
		})
	})
}

// Leaders follow each other in the order of their keys, and observers see them in this order.
func election(t *trial) {
	last := t.key("last")
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	observed := make(chan struct{})
	go func() {
		defer close(observed)
		observe(t, watching)
	}()
	together(3, func(int) {
		client := t.client()
		defer client.Close()
		t.withSessions(client, func(session *concurrency.Session) {
			candidate := concurrency.NewElection(session, t.key("election"))
			ctx, cancel := context.WithTimeout(context.Background(), endWithin)
			defer cancel()
			if !t.ok(candidate.Campaign(ctx, "new")) || !t.ok(candidate.Proclaim(ctx, "leads")) {
				return
			}
			leads := clientv3.Compare(clientv3.CreateRevision(candidate.Key()), "=", candidate.Rev())
			mine := clientv3.OpPut(last, strconv.FormatInt(candidate.Rev(), 10))
			answer, err := client.Txn(ctx).If(leads).Then(clientv3.OpGet(last), mine).Commit()
			if t.ok(err) {
				if !answer.Succeeded {
					t.breaks("a leader has lost its key")
				} else if before := answer.Responses[0].GetResponseRange().Kvs; len(before) > 0 {
					if rev, err := strconv.ParseInt(string(before[0].Value), 10, 64); err != nil || rev >= candidate.Rev() {
						t.breaks("leader %d after %s", candidate.Rev(), before[0].Value)
					}
				}
				t.done.Add(1)
			}
			t.ok(candidate.Resign(ctx))
		})
	})
	stop()
	<-observed
}

func observe(t *trial, ctx context.Context) {
	client := t.client()
	defer client.Close()
	for ctx.Err() == nil {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(sessionSeconds))
		if !t.ok(err) {
			continue
		}
		last := int64(0)
		for seen := range concurrency.NewElection(session, t.key("election")).Observe(ctx) {
			if rev := seen.Kvs[0].CreateRevision; rev < last {
				t.breaks("leader %d was seen after %d", rev, last)
			} else {
				last = rev
			}
		}
		session.Orphan()
	}
}
