package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/stats"
)

const (
	service = "services/echo"
	calls   = 30
	ttl     = 60
)

// A gRPC server that counts its calls and tells when a client has left.
type backend struct {
	address string
	calls   atomic.Int64
	left    chan struct{}
}

func startBackend() *backend {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	b := &backend{address: listener.Addr().String(), left: make(chan struct{}, 1)}
	server := grpc.NewServer(grpc.StatsHandler(b))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go server.Serve(listener)
	return b
}

func (b *backend) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (b *backend) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (b *backend) HandleRPC(_ context.Context, event stats.RPCStats) {
	if _, ok := event.(*stats.Begin); ok {
		b.calls.Add(1)
	}
}

func (b *backend) HandleConn(_ context.Context, event stats.ConnStats) {
	if _, ok := event.(*stats.ConnEnd); ok {
		b.left <- struct{}{}
	}
}

// Servers register, two of them under a lease. A client finds them by etcd's resolver and balances its calls.
func resolve(ctx context.Context, client *clientv3.Client) {
	manager := must(endpoints.NewManager(client, service))
	lease := must(client.Grant(ctx, ttl)).ID
	all := []*backend{startBackend(), startBackend(), startBackend()}
	add := func(number int, options ...clientv3.OpOption) {
		key := fmt.Sprintf("%s/%d", service, number)
		check(manager.AddEndpoint(ctx, key, endpoints.Endpoint{Addr: all[number].address}, options...))
	}
	add(0, clientv3.WithLease(lease))
	add(1, clientv3.WithLease(lease))
	connection := must(grpc.NewClient("etcd:///"+service,
		grpc.WithResolvers(must(resolver.NewBuilder(client))),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`)))
	defer connection.Close()
	asker := grpc_health_v1.NewHealthClient(connection)
	call := func() { must(asker.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))) }
	// balance waits until the client calls all known servers. Then it prints the number of calls to each server.
	balance := func(change string, known ...int) {
		for _, b := range all {
			b.calls.Store(0)
		}
		for _, number := range known {
			for all[number].calls.Load() == 0 {
				call()
			}
		}
		for _, b := range all {
			b.calls.Store(0)
		}
		for range calls {
			call()
		}
		fmt.Printf("%s: %d, %d, %d\n", change, all[0].calls.Load(), all[1].calls.Load(), all[2].calls.Load())
	}
	balance("two servers", 0, 1)
	add(2)
	balance("one more", 0, 1, 2)
	check(manager.DeleteEndpoint(ctx, service+"/1"))
	<-all[1].left
	balance("one less", 0, 2)
	must(client.Revoke(ctx, lease))
	<-all[0].left
	balance("the end of the lease", 2)
}
