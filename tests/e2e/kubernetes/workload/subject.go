package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	requestTimeout = 5 * time.Second // after which the outcome of a write is unknown
	retryEvery     = 100 * time.Millisecond
)

// A subject is one object the load writes, one write at a time.
type subject struct {
	*load
	resource *resource
	name     string

	mu      sync.Mutex
	state   int    // acknowledged
	hash    string // of its content; none while it does not exist
	version uint64
	broken  bool // the object was not as it had to be: nothing can be said about further writes
}

func (l *load) subject(r *resource, format string, i int) *subject {
	return &subject{load: l, resource: r, name: fmt.Sprintf(format, i)}
}

func (s *subject) create(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	content := makeContent(s.run, s.resource.name, s.name, s.state+1)
	return s.write(ctx, opCreate, hashOf(content), func(ctx context.Context) (object, error) {
		return s.resource.create(ctx, s.name, content)
	})
}

func (s *subject) update(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	content := makeContent(s.run, s.resource.name, s.name, s.state+1)
	return s.write(ctx, opUpdate, hashOf(content), func(ctx context.Context) (object, error) {
		return s.resource.update(ctx, s.name, fmt.Sprint(s.version), content)
	})
}

func (s *subject) delete(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(ctx, opDelete, "", func(ctx context.Context) (object, error) {
		return nil, s.resource.delete(ctx, s.name)
	})
}

// write sends one write until it is acknowledged, by its own answer or by a read that shows it. After an error the write
// may have taken effect or not, and may still do so; both are right. What the read shows must be one of the two states.
func (s *subject) write(ctx context.Context, op operation, hash string, send func(context.Context) (object, error)) bool {
	if s.broken || !s.record(record{Op: opTry, State: s.state + 1, Hash: hash}) {
		return false
	}
	s.pauses.begin(s)
	defer s.pauses.end(s)
	highest := s.journal.highest.Load()
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, requestTimeout)
		o, err := send(attempt)
		cancel()
		if err == nil {
			now := found{hash: hash}
			if o != nil {
				now = found{hashOf(contentOf(o)), versionOf(o)}
			}
			return s.acknowledge(op, hash, highest, now)
		}
		if refused(err) {
			return s.fault("%s refused: %v", op, err)
		}
		if !decided(err) {
			s.unknown.Add(1)
			s.lastErr.Store(err.Error())
		}
		now, ok := s.read(ctx)
		switch {
		case !ok:
			return false
		case now.hash == hash:
			s.byRead.Add(1)
			return s.acknowledge(op, hash, highest, now)
		case now != found{s.hash, s.version}:
			return s.fault("%s to state %d failed and left neither that nor what was before (%v), but: %v",
				op, s.state+1, found{s.hash, s.version}, now)
		}
		pause(ctx)
	}
	return false
}

// acknowledge makes it so that the write counts.
func (s *subject) acknowledge(op operation, hash string, highest uint64, now found) bool {
	if now.hash != hash {
		return s.fault("%s acknowledged with another content, %v", op, now)
	}
	// Whatever was acknowledged before this write was sent has a smaller resourceVersion.
	if now.hash != "" && now.version <= highest {
		return s.fault("%s acknowledged with resourceVersion %d, after %d", op, now.version, highest)
	}
	if !s.record(record{Op: opAck, State: s.state + 1, Hash: hash, Version: now.version}) {
		return false
	}
	s.state++
	s.hash, s.version = now.hash, now.version
	s.acked[op].Add(1)
	return true
}

// read returns the object as the store has it. It fails only when the workload ends.
func (s *subject) read(ctx context.Context) (found, bool) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, requestTimeout)
		o, err := s.resource.get(attempt, s.name)
		cancel()
		if err == nil {
			return found{hashOf(contentOf(o)), versionOf(o)}, true
		}
		if apierrors.IsNotFound(err) {
			return found{}, true
		}
		s.lastErr.Store(err.Error())
		pause(ctx)
	}
	return found{}, false
}

func (s *subject) record(r record) bool {
	r.Resource, r.Name = s.resource.name, s.name
	if err := s.journal.write(r); err != nil {
		return s.fault("journal: %v", err)
	}
	return true
}

func (s *subject) fault(format string, args ...any) bool {
	s.broken = true
	s.faults.add("%s/%s: %s", s.resource.name, s.name, fmt.Sprintf(format, args...))
	return false
}

// decided tells errors that say the write did not take effect now. It may have done so at an earlier attempt, which
// client-go repeats by itself when the API server tells it to.
func decided(err error) bool {
	return apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) || apierrors.IsNotFound(err)
}

// refused tells errors that trying again does not mend.
func refused(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) ||
		apierrors.IsMethodNotSupported(err)
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryEvery):
	}
}
