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
	objects                     int // ConfigMaps, at most
	pace                        int // of them a second; 0 is as fast as possible
	pauses                      *pauses

	maps    []*subject
	created atomic.Int64 // of them, acknowledged
	acked   [numOps]atomic.Int64
	unknown atomic.Int64 // errors after which the outcome of a write was not known
	byRead  atomic.Int64 // writes which such an error hid and a read then showed
	lastErr atomic.Value // string
	next    atomic.Int64 // ConfigMap to be created
	stopped atomic.Bool
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

func newLoad(run string, resources []*resource, j *journal, f *faults, objects, pace int) *load {
	l := &load{run: run, journal: j, faults: f, objects: objects, pace: pace, done: make(chan struct{})}
	l.pauses = newPauses()
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
		var wait sync.WaitGroup
		turns := l.turns(ctx)
		for range workers {
			wait.Go(func() {
				for range turns {
					l.step(ctx, int(l.next.Add(1))-1)
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

// turns lets a worker create a ConfigMap for each value, at the load's pace, until all are created or the load is stopped.
func (l *load) turns(ctx context.Context) <-chan struct{} {
	turns := make(chan struct{})
	go func() {
		defer close(turns)
		pace := time.Duration(0)
		if l.pace > 0 {
			pace = time.Second / time.Duration(l.pace)
		}
		for range l.objects {
			if ctx.Err() != nil || l.stopped.Load() {
				return
			}
			turns <- struct{}{}
			time.Sleep(pace)
		}
	}()
	return turns
}

// wanted is how many ConfigMaps must be there when the load is done.
func (l *load) wanted() int64 {
	if l.stopped.Load() {
		return l.next.Load()
	}
	return int64(l.objects)
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
