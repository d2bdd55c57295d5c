package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const updateBehind = 1000 // how many ConfigMaps back the load updates: written before a kill, changed after it

// A load writes ConfigMaps, Events and widgets until it has done all of them, whatever happens to the store meanwhile.
type load struct {
	run                         string // tells this run's contents from any other's
	configMaps, events, widgets *resource
	journal                     *journal
	faults                      *faults
	objects                     int // ConfigMaps

	maps    []*subject
	created atomic.Int64 // of them, acknowledged
	acked   [numOps]atomic.Int64
	unknown atomic.Int64 // errors after which the outcome of a write was not known
	byRead  atomic.Int64 // writes which such an error hid and a read then showed
	lastErr atomic.Value // string
	done    chan struct{}
	once    sync.Once
	took    time.Duration
}

type operation int

const (
	opCreate operation = iota
	opUpdate
	opDelete
	numOps
)

func (o operation) String() string { return [...]string{"create", "update", "delete"}[o] }

func newLoad(run string, resources []*resource, j *journal, f *faults, objects int) *load {
	l := &load{run: run, journal: j, faults: f, objects: objects, done: make(chan struct{})}
	l.configMaps, l.events, l.widgets = resources[0], resources[1], resources[2]
	for i := range objects {
		l.maps = append(l.maps, l.subject(l.configMaps, "cm-%04d", i))
	}
	return l
}

// start begins the load, once, with so many workers.
func (l *load) start(ctx context.Context, workers int) {
	l.once.Do(func() {
		started := time.Now()
		var next atomic.Int64
		var wait sync.WaitGroup
		for range workers {
			wait.Go(func() {
				for i := int(next.Add(1)) - 1; i < l.objects && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
					l.step(ctx, i)
				}
			})
		}
		go func() {
			wait.Wait()
			l.took = time.Since(started)
			close(l.done)
		}()
	})
}

// step creates the ith ConfigMap and whatever else falls to it.
func (l *load) step(ctx context.Context, i int) {
	if l.maps[i].create(ctx) {
		l.created.Add(1)
	}
	if i%3 == 0 {
		l.maps[i].update(ctx)
	}
	if i >= updateBehind && i%4 == 0 {
		l.maps[i-updateBehind].update(ctx)
	}
	if i%20 == 0 {
		gone := l.subject(l.configMaps, "gone-%04d", i)
		gone.create(ctx)
		gone.delete(ctx)
	}
	if i%10 == 0 {
		l.subject(l.events, "event-%04d", i).create(ctx)
	}
	if i%25 == 0 {
		widget := l.subject(l.widgets, "widget-%04d", i)
		widget.create(ctx)
		widget.update(ctx)
	}
}

// total is how many writes were acknowledged.
func (l *load) total() (n int64) {
	for o := range l.acked {
		n += l.acked[o].Load()
	}
	return n
}
