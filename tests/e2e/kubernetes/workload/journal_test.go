package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// What the verifier says about an object after: created, updated (acknowledged), updated again (outcome unknown).
func TestLifeCheck(t *testing.T) {
	updated := []record{
		{Op: opTry, State: 1, Hash: "one"}, {Op: opAck, State: 1, Hash: "one", Version: 10},
		{Op: opTry, State: 2, Hash: "two"}, {Op: opAck, State: 2, Hash: "two", Version: 20},
		{Op: opTry, State: 3, Hash: "three"},
	}
	deleted := append(updated[:4:4], record{Op: opTry, State: 3}, record{Op: opAck, State: 3})
	for _, x := range []struct {
		name    string
		records []record
		found   found
		want    string // part of the error; none: it is right
	}{
		{"as acknowledged", updated, found{"two", 20}, ""},
		{"unknown write took effect", updated, found{"three", 30}, ""},
		{"lost", updated, found{}, "missing: state 2"},
		{"older state", updated, found{"one", 10}, "fallen back to state 1"},
		{"older state written again", updated, found{"one", 40}, "fallen back to state 1"},
		{"same content, other version", updated, found{"two", 21}, "acknowledged with 20"},
		{"later content, older version", updated, found{"three", 15}, "went back from 20 to 15"},
		{"foreign content", updated, found{"x", 30}, "never written"},
		{"deleted", deleted, found{}, ""},
		{"resurrected", deleted, found{"two", 20}, "fallen back to state 2"},
		{"deletion of unknown outcome did not happen", deleted[:5], found{"two", 20}, ""},
		{"deletion of unknown outcome happened", deleted[:5], found{}, ""},
		{"never acknowledged, not there", updated[:1], found{}, ""},
		{"never acknowledged, there", updated[:1], found{"one", 5}, ""},
	} {
		l := &life{hashes: map[int]string{0: ""}}
		for _, r := range x.records {
			l.add(r)
		}
		err := l.check(x.found)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
	}
}

func TestJournalIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := newJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []record{
		{Op: opTry, Resource: "configmaps", Name: "a", State: 1, Hash: "one"},
		{Op: opAck, Resource: "configmaps", Name: "a", State: 1, Hash: "one", Version: 10},
		{Op: opTry, Resource: "events", Name: "a", State: 1, Hash: "e"},
	} {
		if err := j.write(r); err != nil {
			t.Fatal(err)
		}
	}
	lives, acks, err := readJournal(path)
	if err != nil || len(lives) != 2 || len(acks) != 1 || j.highest.Load() != 10 {
		t.Fatalf("%v, %v, %v, highest %d", lives, acks, err, j.highest.Load())
	}
	if a := lives[objectName{"configmaps", "a"}]; a.acked != 1 || a.version != 10 {
		t.Errorf("configmaps/a: %+v", a)
	}
	if e := lives[objectName{"events", "a"}]; e.acked != 0 || e.tried != 1 {
		t.Errorf("events/a: %+v", e)
	}
}
