package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"
)

const canaryEvery = 50 * time.Millisecond

// pauses measure how long writes had to wait. Beside them a canary writes to a file, which needs nothing but the machine:
// when it pauses, too, the store need not be the cause.
type pauses struct {
	mu      sync.Mutex
	begun   map[*subject]time.Time // writes that are not acknowledged yet
	write   time.Duration          // the longest of those that are
	machine time.Duration          // the longest pause of the canary
}

func newPauses() *pauses { return &pauses{begun: map[*subject]time.Time{}} }

func (p *pauses) begin(s *subject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun[s] = time.Now()
}

func (p *pauses) end(s *subject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write = max(p.write, time.Since(p.begun[s]))
	delete(p.begun, s)
}

// report prints both in milliseconds, and begins anew. A write that still waits counts as far as it has come.
func (p *pauses) report(out io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, begun := range p.begun {
		p.write = max(p.write, time.Since(begun))
	}
	fmt.Fprintf(out, "%d %d\n", p.write.Milliseconds(), p.machine.Milliseconds())
	p.write, p.machine = 0, 0
}

// watchMachine is the canary.
func (p *pauses) watchMachine(path string) {
	file, err := os.Create(path)
	for last := time.Now(); err == nil; {
		time.Sleep(canaryEvery)
		if _, err = file.WriteAt([]byte(last.String()), 0); err == nil {
			err = file.Sync()
		}
		now := time.Now()
		p.mu.Lock()
		p.machine = max(p.machine, now.Sub(last)-canaryEvery)
		p.mu.Unlock()
		last = now
	}
	log.Fatal("the canary: ", err)
}
