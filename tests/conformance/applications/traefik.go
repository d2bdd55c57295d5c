package main

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// The prefix of Traefik's keys. It ends without a slash, so Traefik also lists keys that it then ignores.
	root    = "traefik"
	missing = root + "/there-is-no-such-key"
	router  = root + "/http/routers/web/"
	servers = root + "/http/services/web/loadBalancer/servers/"
)

// A server of the service `web`, in Traefik's layout.
func serverURL(number int) string { return servers + strconv.Itoa(number) + "/url" }

// The calls of Traefik 3's provider for etcd. The provider reads a missing key to see whether it is connected. It lists
// all keys by descending name, watches them from the next revision, and lists them again after each event.
func traefik(ctx context.Context, client *clientv3.Client) {
	fmt.Println("connected:", must(client.Get(ctx, missing)).Count)
	fmt.Println("empty:", list(ctx, client))
	put(ctx, client,
		router+"rule", "Host(`web.example`)",
		router+"entryPoints/0", "websecure",
		router+"service", "web",
		serverURL(0), "http://10.0.0.1:8080",
		"traefik2/http/routers/other", "of another Traefik",
		"traefi", "of none",
	)
	revision := list(ctx, client)
	events := client.Watch(ctx, root, clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	for _, change := range []func(){
		func() { put(ctx, client, serverURL(1), "http://10.0.0.2:8080", serverURL(2), "http://10.0.0.3:8080") },
		func() { put(ctx, client, router+"rule", "Host(`web.example`) && PathPrefix(`/api`)") },
		func() { must(client.Delete(ctx, serverURL(0))) },
		func() { must(client.Delete(ctx, root+"/http/", clientv3.WithPrefix())) },
	} {
		change()
		response := <-events
		check(response.Err())
		for _, event := range response.Events {
			fmt.Printf("%s %s = %q at %d\n", event.Type, event.Kv.Key, event.Kv.Value, event.Kv.ModRevision)
		}
		list(ctx, client)
	}
}

// list prints the keys and gives the revision of the store.
func list(ctx context.Context, client *clientv3.Client) int64 {
	order := clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)
	response := must(client.Get(ctx, root, clientv3.WithPrefix(), order))
	for _, row := range response.Kvs {
		fmt.Printf("%s = %q at %d\n", row.Key, row.Value, row.ModRevision)
	}
	return response.Header.Revision
}

// put writes pairs of keys and values in one transaction.
func put(ctx context.Context, client *clientv3.Client, pairs ...string) {
	var puts []clientv3.Op
	for at := 0; at < len(pairs); at += 2 {
		puts = append(puts, clientv3.OpPut(pairs[at], pairs[at+1]))
	}
	must(client.Txn(ctx).Then(puts...).Commit())
}
