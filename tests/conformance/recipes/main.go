// Runs the recipes of etcd's Go client against servers that may be killed meanwhile, and checks what each recipe
// promises. Errors are expected; broken promises are not. Exits with 1 if a promise was broken, or if a recipe got
// nothing done.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// The time limit of a request, and of what must happen in the end.
const (
	requestWithin = 10 * time.Second
	endWithin     = 60 * time.Second
	pause         = 20 * time.Millisecond
)

// One recipe under test.
type trial struct {
	name      string
	endpoints []string
	until     time.Time
	// Rounds that were completed, and requests whose outcome is unknown.
	done, failed atomic.Int64
	mu           sync.Mutex
	broken       []string
}

var recipes = []struct {
	name string
	run  func(*trial)
}{
	{"mutex", mutex},
	{"read-write mutex", readWriteMutex},
	{"election", election},
	{"STM", stm},
	{"queue", queue},
	{"priority queue", priorityQueue},
	{"barrier", barrier},
	{"double barrier", doubleBarrier},
	{"leasing", leases},
	{"ordering", order},
	{"namespace", names},
	{"mirror", mirrors},
	{"naming", naming},
}

func main() {
	endpoints := flag.String("endpoints", "http://127.0.0.1:2379", "URLs of the members")
	long := flag.Duration("for", 3*time.Second, "how long each recipe runs")
	flag.Parse()
	time.AfterFunc(*long+5*endWithin, func() { panic("a recipe does not end") })
	var all sync.WaitGroup
	var isBad atomic.Bool
	for _, recipe := range recipes {
		t := &trial{
			name:      recipe.name,
			endpoints: strings.Split(*endpoints, ","),
			until:     time.Now().Add(*long),
		}
		all.Go(func() {
			recipe.run(t)
			if t.done.Load() == 0 {
				t.breaks("nothing was done")
			}
			fmt.Printf("%s: %d rounds, %d failures\n", t.name, t.done.Load(), t.failed.Load())
			for _, text := range t.broken {
				isBad.Store(true)
				fmt.Printf("%s: BROKEN: %s\n", t.name, text)
			}
		})
	}
	all.Wait()
	if isBad.Load() {
		os.Exit(1)
	}
}

// runs says whether another round should begin. At least one round is completed.
func (t *trial) runs() bool { return t.done.Load() == 0 || time.Now().Before(t.until) }

// key gives a key of this recipe's own.
func (t *trial) key(name string) string { return "recipes/" + t.name + "/" + name }

func (t *trial) breaks(format string, values ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.broken) < 10 {
		t.broken = append(t.broken, fmt.Sprintf(format, values...))
	}
}

// ok counts a failure and waits a moment after it.
func (t *trial) ok(err error) bool {
	if err == nil {
		return true
	}
	t.failed.Add(1)
	time.Sleep(pause)
	return false
}

func (t *trial) client() *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   t.endpoints,
		DialTimeout: requestWithin,
		Logger:      zap.NewNop(),
	})
	if err != nil {
		panic(err)
	}
	return client
}

// within gives the context of one request.
func within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), requestWithin)
}

// surely repeats a request that may be repeated until it succeeds.
func surely[T any](t *trial, request func(context.Context) (T, error)) T {
	for deadline := time.Now().Add(endWithin); ; {
		ctx, cancel := within()
		answer, err := request(ctx)
		cancel()
		if t.ok(err) {
			return answer
		}
		if time.Now().After(deadline) {
			panic(fmt.Sprintf("%s: no answer: %v", t.name, err))
		}
	}
}

// get reads, linearizably.
func (t *trial) get(client clientv3.KV, key string, options ...clientv3.OpOption) *clientv3.GetResponse {
	return surely(t, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return client.Get(ctx, key, options...)
	})
}

// put writes a value that may be written more than once.
func (t *trial) put(client clientv3.KV, key, value string) int64 {
	return surely(t, func(ctx context.Context) (*clientv3.PutResponse, error) {
		return client.Put(ctx, key, value)
	}).Header.Revision
}

// together runs a function several times at once.
func together(count int, run func(number int)) {
	var all sync.WaitGroup
	for number := range count {
		all.Go(func() { run(number) })
	}
	all.Wait()
}

// ends says whether a function returns in time.
func ends(limit time.Duration, run func()) bool {
	done := make(chan struct{})
	go func() {
		run()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}
