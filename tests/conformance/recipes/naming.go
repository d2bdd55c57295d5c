package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// A watch of endpoints tells the endpoints that there are, and gRPC finds servers by them.
func naming(t *trial) {
	client := t.client()
	defer client.Close()
	manager, err := endpoints.NewManager(client, t.key("service"))
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	updates, err := manager.NewWatchChannel(ctx)
	if err != nil {
		t.breaks("no watch: %v", err)
		return
	}
	name := func(number int) string { return t.key("service/" + strconv.Itoa(number)) }
	for step := 0; t.runs(); step++ {
		key := name(rand.IntN(8))
		surely(t, func(ctx context.Context) (struct{}, error) {
			if rand.IntN(3) == 0 {
				return struct{}{}, manager.DeleteEndpoint(ctx, key)
			}
			return struct{}{}, manager.AddEndpoint(ctx, key, endpoints.Endpoint{Addr: strconv.Itoa(step)})
		})
		t.done.Add(1)
	}
	end := endpoints.Endpoint{Addr: "end"}
	add := func(key string, endpoint endpoints.Endpoint) {
		surely(t, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, manager.AddEndpoint(ctx, key, endpoint)
		})
	}
	add(name(99), end)
	seen := endpoints.Key2EndpointMap{}
	if !ends(endWithin, func() {
		for seen[name(99)] != end {
			for _, update := range <-updates {
				if update.Op == endpoints.Delete {
					delete(seen, update.Key)
				} else {
					seen[update.Key] = update.Endpoint
				}
			}
		}
	}) {
		t.breaks("the watch did not tell the last endpoint")
		return
	}
	listed := surely(t, manager.List)
	if fmt.Sprint(listed) != fmt.Sprint(seen) {
		t.breaks("watched %v, listed %v", seen, listed)
	}
	for key := range listed {
		surely(t, func(ctx context.Context) (struct{}, error) { return struct{}{}, manager.DeleteEndpoint(ctx, key) })
	}
	for number, endpoint := range t.endpoints {
		add(name(number), endpoints.Endpoint{Addr: strings.TrimPrefix(endpoint, "http://")})
	}
	builder, err := resolver.NewBuilder(client)
	if err != nil {
		panic(err)
	}
	connection, err := grpc.NewClient("etcd:///"+t.key("service"), grpc.WithResolvers(builder),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	defer connection.Close()
	surely(t, func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
		return grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	})
}
