package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// faults are what no client may ever see, gathered while the workload runs.
type faults struct {
	mu   sync.Mutex
	list []string
}

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

func (f *faults) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.list...)
}

// An informer is a shared informer whose lists and watches are observed on their way from the API server.
type informer struct {
	*resource
	shared cache.SharedIndexInformer
	faults *faults

	lists   atomic.Int64 // that brought all objects: the first, and one for each relist
	watches atomic.Int64
	events  atomic.Int64

	mu       sync.Mutex
	last     uint64            // resourceVersion the API server has told
	seen     map[uint64]bool   // resourceVersions of objects that came as events
	deleted  map[string]bool   // names that came as deletions
	versions map[string]uint64 // of the objects the informer handed on
}

func newInformer(r *resource, f *faults) (*informer, error) {
	i := &informer{resource: r, faults: f, seen: map[uint64]bool{}, deleted: map[string]bool{}, versions: map[string]uint64{}}
	i.shared = cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: i.observedList, WatchFuncWithContext: i.observedWatch,
	}, r.example, 0, cache.Indexers{})
	_, err := i.shared.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { i.handedOn(o.(metav1.Object)) },
		UpdateFunc: func(_, o any) { i.handedOn(o.(metav1.Object)) },
	})
	return i, err
}

// handedOn is the informer's own event handler.
func (i *informer) handedOn(o metav1.Object) {
	i.mu.Lock()
	defer i.mu.Unlock()
	v := versionOf(o)
	if was := i.versions[o.GetName()]; v < was {
		i.faults.add("informer %s: %s went back from resourceVersion %d to %d", i.name, o.GetName(), was, v)
	}
	i.versions[o.GetName()] = v
}

func (i *informer) observedList(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list, err := i.listWatch.ListWithContext(ctx, opts)
	if err != nil {
		return nil, err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	// Pages after the first have the resourceVersion of the first.
	if opts.Continue == "" {
		i.lists.Add(1)
		i.advance("a list", versionFrom(accessor.GetResourceVersion()))
	}
	return list, nil
}

func (i *informer) observedWatch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	w, err := i.listWatch.WatchWithContext(ctx, opts)
	if err != nil {
		return nil, err
	}
	i.watches.Add(1)
	s := &stream{informer: i, initial: opts.SendInitialEvents != nil && *opts.SendInitialEvents}
	s.last = versionFrom(opts.ResourceVersion)
	return watch.Filter(w, s.event), nil
}

// advance notes a resourceVersion that speaks for the whole resource.
func (i *informer) advance(what string, version uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if version < i.last {
		i.faults.add("informer %s: resourceVersion went back from %d to %d with %s", i.name, i.last, version, what)
	}
	i.last = max(i.last, version)
}

// A stream is one watch. Until the bookmark that ends them, initial events stand in no order.
type stream struct {
	*informer
	initial bool
	last    uint64
}

func (s *stream) event(e watch.Event) (watch.Event, bool) {
	if e.Type == watch.Error {
		return e, true
	}
	o, err := meta.Accessor(e.Object)
	if err != nil {
		s.faults.add("informer %s: %s event of %T: %v", s.name, e.Type, e.Object, err)
		return e, true
	}
	v := versionOf(o)
	switch {
	case e.Type == watch.Bookmark:
		if s.initial && o.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
			s.initial = false
			s.lists.Add(1)
		}
		if v < s.last {
			s.faults.add("informer %s: bookmark at %d after resourceVersion %d", s.name, v, s.last)
		}
		if !s.initial {
			s.last = v
			s.advance("a bookmark", v)
		}
	case s.initial:
	default:
		s.events.Add(1)
		// Keys that a lease takes with it are all deleted at one revision; nothing else happens to two objects at once.
		if v < s.last || v == s.last && e.Type != watch.Deleted {
			s.faults.add("informer %s: %s event of %s at %d after resourceVersion %d", s.name, e.Type, o.GetName(), v, s.last)
		}
		s.last = v
		s.mu.Lock()
		if e.Type == watch.Deleted {
			s.deleted[o.GetName()] = true
		} else {
			s.seen[v] = true
		}
		s.informer.last = max(s.informer.last, v)
		s.mu.Unlock()
	}
	return e, true
}

// missed returns the acknowledged writes that never came as events, and how many did. It knows nothing of an informer that
// has listed again: the list may have told that what events did not.
func (i *informer) missed(acks []acknowledgement) (missed []acknowledgement, came int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.lists.Load() != 1 {
		return nil, 0
	}
	for _, a := range acks {
		switch {
		case a.resource != i.name:
		case a.deleted && i.deleted[a.name], !a.deleted && i.seen[a.version]:
			came++
		default:
			missed = append(missed, a)
		}
	}
	return missed, came
}

// cached returns the resourceVersions of the objects in the informer's cache.
func (i *informer) cached() map[string]uint64 {
	versions := map[string]uint64{}
	for _, o := range i.shared.GetStore().List() {
		m := o.(metav1.Object)
		versions[m.GetName()] = versionOf(m)
	}
	return versions
}

// listed returns those of a list that the API server must answer consistently with the store.
func (i *informer) listed(ctx context.Context) (map[string]uint64, error) {
	list, err := i.listWatch.ListWithContext(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	versions := map[string]uint64{}
	return versions, meta.EachListItem(list, func(o runtime.Object) error {
		m, err := meta.Accessor(o)
		if err == nil {
			versions[m.GetName()] = versionOf(m)
		}
		return err
	})
}
