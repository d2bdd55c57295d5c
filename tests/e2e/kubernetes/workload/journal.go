package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// A record is one line of the journal: a write before it is sent, or after it was acknowledged.
type record struct {
	Op       string `json:"op"` // opTry, opAck
	Resource string `json:"resource"`
	Name     string `json:"name"`
	State    int    `json:"state"`          // 0 before the object exists; each write adds one
	Hash     string `json:"hash,omitempty"` // of the content; none when the write deletes
	Version  uint64 `json:"version,omitempty"`
}

const (
	opTry = "try"
	opAck = "ack"
)

// A journal keeps what was promised to the workload apart from the system under test. A write is only counted as
// acknowledged once it stands there.
type journal struct {
	mu      sync.Mutex
	file    *os.File
	highest atomic.Uint64 // resourceVersion acknowledged
}

func newJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	return &journal{file: f}, err
}

func (j *journal) write(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.file.Write(append(line, '\n'))
	for r.Op == opAck && err == nil {
		h := j.highest.Load()
		if r.Version <= h || j.highest.CompareAndSwap(h, r.Version) {
			break
		}
	}
	return err
}

type objectName struct{ resource, name string }

func (o objectName) String() string { return o.resource + "/" + o.name }

// A life is what the journal says about one object: its states, and between which of them it must be.
type life struct {
	hashes  map[int]string
	tried   int // the last state that was sent
	acked   int // the last one that was acknowledged
	version uint64
}

// An acknowledgement is of one write, in the order of the journal.
type acknowledgement struct {
	objectName
	version uint64
	deleted bool
}

// readJournal rebuilds from the file alone what must be in the store.
func readJournal(path string) (map[objectName]*life, []acknowledgement, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	lives, acks := map[objectName]*life{}, []acknowledgement{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, nil, fmt.Errorf("journal: %w", err)
		}
		name := objectName{r.Resource, r.Name}
		if lives[name] == nil {
			lives[name] = &life{hashes: map[int]string{0: ""}}
		}
		lives[name].add(r)
		if r.Op == opAck {
			acks = append(acks, acknowledgement{name, r.Version, r.Hash == ""})
		}
	}
	return lives, acks, lines.Err()
}

func (l *life) add(r record) {
	l.hashes[r.State] = r.Hash
	l.tried = max(l.tried, r.State)
	if r.Op == opAck && r.State > l.acked {
		l.acked, l.version = r.State, r.Version
	}
}

// A found is an object as it was read back; the zero value is one that is not there.
type found struct {
	hash    string
	version uint64
}

func (f found) String() string {
	if f.hash == "" {
		return "absent"
	}
	return fmt.Sprintf("content %s at resourceVersion %d", f.hash, f.version)
}

// check tells what is wrong with an object: it must be in the last acknowledged state, exactly as it was acknowledged,
// or in a later one whose outcome was never known.
func (l *life) check(f found) error {
	for state := l.acked; state <= l.tried; state++ {
		if l.hashes[state] != f.hash {
			continue
		}
		switch {
		case f.hash == "":
		case state == l.acked && f.version != l.version:
			return fmt.Errorf("state %d has resourceVersion %d, acknowledged with %d", state, f.version, l.version)
		case f.version < l.version:
			return fmt.Errorf("resourceVersion went back from %d to %d", l.version, f.version)
		}
		return nil
	}
	if f.hash == "" {
		return fmt.Errorf("missing: state %d was acknowledged with resourceVersion %d", l.acked, l.version)
	}
	for state := range l.acked {
		if l.hashes[state] == f.hash {
			return fmt.Errorf("has fallen back to state %d (resourceVersion %d), state %d was acknowledged with %d",
				state, f.version, l.acked, l.version)
		}
	}
	if l.hashes[l.acked] == "" {
		return fmt.Errorf("is there (resourceVersion %d), its deletion was acknowledged", f.version)
	}
	return fmt.Errorf("has a content that was never written (resourceVersion %d)", f.version)
}
