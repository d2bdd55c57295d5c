// Checks a version of etcd's Go client: see ../build.sh for the arguments, the lines and the pauses.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The time limits of a request, of a connection that is to be refused, and of an attempt to take a lock that is held.
const (
	requestWithin = 30 * time.Second
	refusedWithin = time.Second
	busyFor       = 200 * time.Millisecond
)

// The data of a check.
type run struct {
	*clientv3.Client
	ctx context.Context
	// The start of all keys.
	prefix  string
	members []string
	secure  []string
	// The folder of certificates.
	certificates string
}

var pauses = bufio.NewScanner(os.Stdin)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 4*requestWithin)
	defer cancel()
	r := &run{
		ctx:          ctx,
		members:      strings.Split(os.Args[1], ","),
		secure:       strings.Split(os.Args[2], ","),
		certificates: os.Args[3],
		prefix:       os.Args[4],
	}
	client, err := r.connect(clientv3.Config{})
	must(err)
	r.Client = client

	say("put", r.putTwice())
	say("range", r.ranges())
	say("delete", r.deletions())
	say("txn", r.transactions())
	say("lease", r.lease())
	say("expiry", r.expiry())
	say("watch", r.watch())
	say("history", r.history())
	say("lock", r.lock())
	say("election", r.election())
	say("users", r.users())
	pause("compaction")
	say("compaction", r.compaction())
	must(client.Close())
	pause("authentication")
	say("login", r.login())
	say("wrong password", r.wrongPassword())
	say("denied", r.denied())
	say("TLS", r.overTLS())
	say("no certificate", r.withoutCertificate())
}

// connect makes a client of all members.
func (r *run) connect(config clientv3.Config) (*clientv3.Client, error) {
	config.Endpoints = r.members
	return r.open(config)
}

// connectSecurely makes a client of all members that serve TLS.
func (r *run) connectSecurely(config clientv3.Config, t *tls.Config) (*clientv3.Client, error) {
	config.Endpoints, config.TLS = r.secure, t
	return r.open(config)
}

func (r *run) open(config clientv3.Config) (*clientv3.Client, error) {
	config.Context, config.DialTimeout = r.ctx, requestWithin
	return clientv3.New(config)
}

// key is a key of this run.
func (r *run) key(name string) string { return r.prefix + name }

// name is the argument of key.
func (r *run) name(key []byte) string { return strings.TrimPrefix(string(key), r.prefix) }

// put sets a key and returns the revision.
func (r *run) put(name, value string, options ...clientv3.OpOption) int64 {
	answer, err := r.Put(r.ctx, r.key(name), value, options...)
	must(err)
	return answer.Header.Revision
}

func say(check string, outcome string) { fmt.Printf("%s: %s\n", check, outcome) }

// pause waits until the test lets the program continue.
func pause(before string) {
	fmt.Printf("before %s\n", before)
	if !pauses.Scan() {
		panic("the test has ended")
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
