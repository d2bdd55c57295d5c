// Command applications asks a store as other applications do, and prints the answers. Two stores with the same ids
// are alike if the program prints the same for both.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// The time limit of an application's whole run.
const within = 60 * time.Second

var applications = map[string]func(context.Context, *clientv3.Client){
	"resolver": resolve,
	"traefik":  traefik,
}

func main() {
	endpoint := flag.String("endpoint", "http://127.0.0.1:2379", "URL of the store")
	flag.Parse()
	run := applications[flag.Arg(0)]
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: applications -endpoint URL traefik|resolver")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	client := must(clientv3.New(clientv3.Config{Endpoints: []string{*endpoint}, Logger: zap.NewNop()}))
	defer client.Close()
	run(ctx, client)
}

// must gives the value of a call that must not fail.
func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
