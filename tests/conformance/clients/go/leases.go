package main

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

func (r *run) lease() string {
	granted, err := r.Grant(r.ctx, 60)
	must(err)
	r.put("leased", "1", clientv3.WithLease(granted.ID))
	renewed, err := r.KeepAliveOnce(r.ctx, granted.ID)
	must(err)
	about, err := r.TimeToLive(r.ctx, granted.ID, clientv3.WithAttachedKeys())
	must(err)
	_, err = r.Revoke(r.ctx, granted.ID)
	must(err)
	left, err := r.Get(r.ctx, r.key("leased"))
	must(err)
	_, again := r.Revoke(r.ctx, granted.ID)
	_, late := r.KeepAliveOnce(r.ctx, granted.ID)
	return fmt.Sprintf("%d, renewed %d, granted %d with %s, then %d keys; %v; %v", granted.TTL, renewed.TTL,
		about.GrantedTTL, r.name(about.Keys[0]), left.Count, again, late)
}

func (r *run) expiry() string {
	granted, err := r.Grant(r.ctx, 1)
	must(err)
	from := r.put("expires", "1", clientv3.WithLease(granted.ID))
	events := r.events(r.Watch(r.ctx, r.key("expires"), clientv3.WithRev(from)), 2)
	about, err := r.TimeToLive(r.ctx, granted.ID)
	must(err)
	return fmt.Sprintf("%d, %s, then %d", granted.TTL, events, about.TTL)
}

// session is a lease that the client keeps alive.
func (r *run) session() *concurrency.Session {
	session, err := concurrency.NewSession(r.Client, concurrency.WithTTL(60), concurrency.WithContext(r.ctx))
	must(err)
	return session
}

func (r *run) lock() string {
	first, second := r.session(), r.session()
	defer first.Close()
	defer second.Close()
	held := concurrency.NewMutex(first, r.key("lock"))
	must(held.Lock(r.ctx))
	waiting := concurrency.NewMutex(second, r.key("lock"))
	ctx, cancel := context.WithTimeout(r.ctx, busyFor)
	defer cancel()
	busy := waiting.Lock(ctx)
	taken := make(chan error)
	go func() { taken <- waiting.Lock(r.ctx) }()
	must(held.Unlock(r.ctx))
	must(<-taken)
	return fmt.Sprintf("%v, then taken", busy)
}

func (r *run) election() string {
	first, second := r.session(), r.session()
	defer first.Close()
	defer second.Close()
	leader := concurrency.NewElection(first, r.key("election"))
	must(leader.Campaign(r.ctx, "one"))
	seen, err := leader.Leader(r.ctx)
	must(err)
	must(leader.Proclaim(r.ctx, "one again"))
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	next := concurrency.NewElection(second, r.key("election"))
	observed := next.Observe(ctx)
	proclaimed := <-observed
	elected := make(chan error)
	go func() { elected <- next.Campaign(r.ctx, "two") }()
	must(leader.Resign(r.ctx))
	must(<-elected)
	followed := <-observed
	must(next.Resign(r.ctx))
	_, none := next.Leader(r.ctx)
	return fmt.Sprintf("%s, %s, %s, %v", seen.Kvs[0].Value, proclaimed.Kvs[0].Value, followed.Kvs[0].Value, none)
}
