package main

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

func testInformer(t *testing.T) *informer {
	t.Helper()
	i, err := newInformer(&resource{name: "configmaps", example: &corev1.ConfigMap{}}, &faults{})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func event(kind watch.EventType, name string, version int) watch.Event {
	m := metav1.ObjectMeta{Name: name, ResourceVersion: fmt.Sprint(version)}
	return watch.Event{Type: kind, Object: &corev1.ConfigMap{ObjectMeta: m}}
}

func endOfInitial(version int) watch.Event {
	e := event(watch.Bookmark, "", version)
	e.Object.(*corev1.ConfigMap).Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	return e
}

// What a watch may not do, after an informer has its first list at version 10.
func TestStreamOrder(t *testing.T) {
	for _, x := range []struct {
		name   string
		events []watch.Event
		fault  string // part of it; none: the stream is right
	}{
		{"ascending", []watch.Event{
			event(watch.Added, "a", 11), event(watch.Bookmark, "", 11), event(watch.Deleted, "a", 12),
		}, ""},
		{"deletions by one lease", []watch.Event{event(watch.Deleted, "a", 11), event(watch.Deleted, "b", 11)}, ""},
		{"an event again", []watch.Event{event(watch.Added, "a", 11), event(watch.Added, "a", 11)},
			"ADDED event of a at 11 after resourceVersion 11"},
		{"an event from before the list", []watch.Event{event(watch.Modified, "a", 9)}, "at 9 after resourceVersion 10"},
		{"a bookmark back", []watch.Event{event(watch.Added, "a", 12), event(watch.Bookmark, "", 11)}, "bookmark at 11"},
	} {
		i := testInformer(t)
		initial := &stream{informer: i, initial: true}
		for _, e := range []watch.Event{event(watch.Added, "b", 7), event(watch.Added, "a", 5), endOfInitial(10)} {
			initial.event(e)
		}
		s := &stream{informer: i, last: 10}
		for _, e := range x.events {
			s.event(e)
		}
		got := strings.Join(i.faults.all(), "; ")
		if (got == "") != (x.fault == "") || !strings.Contains(got, x.fault) {
			t.Errorf("%s: %q, want %q", x.name, got, x.fault)
		}
		if n := i.lists.Load(); n != 1 {
			t.Errorf("%s: %d lists", x.name, n)
		}
	}
}

func TestListThatWentBack(t *testing.T) {
	i := testInformer(t)
	(&stream{informer: i, initial: true}).event(endOfInitial(10))
	(&stream{informer: i, initial: true}).event(endOfInitial(8))
	if got := strings.Join(i.faults.all(), "; "); !strings.Contains(got, "went back from 10 to 8") {
		t.Errorf("%q", got)
	}
}

func TestMissedEvents(t *testing.T) {
	i := testInformer(t)
	initial := &stream{informer: i, initial: true}
	initial.event(endOfInitial(10))
	s := &stream{informer: i, last: 10}
	s.event(event(watch.Added, "a", 11))
	s.event(event(watch.Deleted, "gone", 13))
	a, gone := objectName{"configmaps", "a"}, objectName{"configmaps", "gone"}
	acks := []acknowledgement{
		{a, 11, false}, {a, 12, false}, {gone, 0, true},
		{objectName{"configmaps", "kept"}, 0, true}, {objectName{"events", "e"}, 14, false},
	}
	missed, came := i.missed(acks)
	if fmt.Sprint(missed) != fmt.Sprint([]acknowledgement{acks[1], acks[3]}) || came != 2 {
		t.Errorf("missed %v, %d came", missed, came)
	}
	initial.initial = true
	initial.event(endOfInitial(20))
	if missed, came := i.missed(acks); missed != nil || came != 0 {
		t.Errorf("after a relist, missed %v, %d came", missed, came)
	}
}

func TestDifference(t *testing.T) {
	inStore := map[string]uint64{"a": 1, "b": 2}
	if d := difference("x", map[string]uint64{"a": 1, "b": 2}, inStore); d != "" {
		t.Error(d)
	}
	d := difference("the cache", map[string]uint64{"a": 3, "c": 4}, inStore)
	want := "the cache differs from the store in 3 of 2 objects: " +
		"a at 3 instead of 1, b at 0 instead of 2, c at 4, which the store does not have"
	if d != want {
		t.Error(d)
	}
}
