package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
)

// The last element of a queue.
const last = "last"

// An element comes out at most once, in the order in which its producer put it in, and none is lost.
func queue(t *trial) {
	var acknowledged sync.Map
	var lost, in atomic.Int64
	var all sync.WaitGroup
	all.Go(func() { consume(t, &acknowledged, &lost, &in) })
	together(2, func(number int) {
		client := t.client()
		defer client.Close()
		queue := recipe.NewQueue(client, t.key("queue"))
		for element := 0; t.runs() || element < 10; element++ {
			name := fmt.Sprintf("%d:%d", number, element)
			acknowledged.Store(name, false)
			if t.ok(queue.Enqueue(name)) {
				acknowledged.Store(name, true)
				in.Add(1)
			}
		}
	})
	client := t.client()
	defer client.Close()
	for !t.ok(recipe.NewQueue(client, t.key("queue")).Enqueue(last)) {
	}
	all.Wait()
}

func consume(t *trial, acknowledged *sync.Map, lost, in *atomic.Int64) {
	client := t.client()
	defer client.Close()
	queue := recipe.NewQueue(client, t.key("queue"))
	newest := map[string]int{}
	out := int64(0)
	for {
		name, err := queue.Dequeue()
		if !t.ok(err) {
			lost.Add(1)
			continue
		}
		if name == last {
			break
		}
		isAcknowledged, isKnown := acknowledged.LoadAndDelete(name)
		if !isKnown {
			t.breaks("%s comes out for the second time", name)
		}
		producer, number, _ := strings.Cut(name, ":")
		element, err := strconv.Atoi(number)
		if err != nil {
			panic(err)
		}
		if isAcknowledged == true {
			out++
			if before, ok := newest[producer]; ok && element <= before {
				t.breaks("%s comes out after %d", name, before)
			}
			newest[producer] = element
		}
		t.done.Add(1)
	}
	// The consumer may be faster than the answer to the producer, so `out` may be too small.
	left := 0
	acknowledged.Range(func(_, isAcknowledged any) bool {
		if isAcknowledged == true {
			left++
		}
		return true
	})
	if int64(left) > lost.Load()+in.Load()-out {
		t.breaks("%d elements are lost", left)
	}
}

// Elements that were put in before come out by their priorities.
func priorityQueue(t *trial) {
	client := t.client()
	defer client.Close()
	for round := 0; t.runs(); round++ {
		queue := recipe.NewPriorityQueue(client, t.key(strconv.Itoa(round)))
		in := map[string]bool{}
		for element := range 8 {
			priority := uint16(rand.UintN(100))
			name := fmt.Sprintf("%d:%d", priority, element)
			if t.ok(queue.Enqueue(name, priority)) {
				in[name] = true
			}
		}
		before := 0
		for range len(in) {
			name, err := queue.Dequeue()
			if !t.ok(err) {
				break
			}
			text, _, _ := strings.Cut(name, ":")
			priority, err := strconv.Atoi(text)
			if err != nil {
				panic(err)
			}
			if in[name] && priority < before {
				t.breaks("priority %d comes out after %d", priority, before)
			}
			before = priority
		}
		t.done.Add(1)
	}
}

// Nobody passes a barrier before it is released, and then everybody does.
func barrier(t *trial) {
	client := t.client()
	defer client.Close()
	for round := 0; t.runs(); round++ {
		key := t.key(strconv.Itoa(round))
		if !t.ok(recipe.NewBarrier(client, key).Hold()) {
			continue
		}
		var isReleased atomic.Bool
		var waiting sync.WaitGroup
		for range 3 {
			waiting.Go(func() {
				if err := recipe.NewBarrier(client, key).Wait(); t.ok(err) && !isReleased.Load() {
					t.breaks("somebody passed too early")
				}
			})
		}
		time.Sleep(pause)
		isReleased.Store(true)
		for !t.ok(recipe.NewBarrier(client, key).Release()) {
		}
		if !ends(endWithin, waiting.Wait) {
			t.breaks("somebody still waits")
			return
		}
		t.done.Add(1)
	}
}

// Nobody enters a double barrier before all have come.
func doubleBarrier(t *trial) {
	const size = 3
	clients := [size]*clientv3.Client{}
	for number := range size {
		clients[number] = t.client()
		defer clients[number].Close()
	}
	for round := 0; t.runs(); round++ {
		key := t.key(strconv.Itoa(round))
		var come, entered atomic.Int32
		// After a failure, the others wait for the one that failed.
		ends(requestWithin, func() {
			together(size, func(number int) {
				session, err := concurrency.NewSession(clients[number], concurrency.WithTTL(sessionSeconds))
				if !t.ok(err) {
					return
				}
				barrier := recipe.NewDoubleBarrier(session, key, size)
				come.Add(1)
				if !t.ok(barrier.Enter()) {
					return
				}
				if now := come.Load(); now != size {
					t.breaks("somebody entered when %d had come", now)
				}
				if entered.Add(1) == size {
					t.done.Add(1)
				}
				t.ok(barrier.Leave())
				t.ok(session.Close())
			})
		})
	}
}
