package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// verify compares what was acknowledged with the store, and the store with the API server's lists and the informers'
// caches. It returns what it found right, and what wrong.
func (w *workload) verify(ctx context.Context) (summary string, problems []string) {
	lives, acks, err := readJournal(w.journalPath)
	if err != nil {
		return "", []string{err.Error()}
	}
	summary, problems = w.verifyStore(ctx, lives)
	problems = append(problems, w.faults.all()...)
	if len(problems) > 0 {
		return summary, problems // what the caches say then is of no more interest
	}
	start := time.Now()
	for _, i := range w.informers {
		if err := w.settle(ctx, i); err != nil {
			problems = append(problems, err.Error())
		}
	}
	events := 0
	for _, i := range w.informers {
		missed, came := i.missed(acks)
		for _, a := range missed {
			problems = append(problems, fmt.Sprintf("informer %s: no event came of %s, acknowledged with resourceVersion %d",
				i.name, a, a.version))
		}
		events += came
	}
	problems = append(problems, w.faults.all()...)
	return summary + fmt.Sprintf("store = list = informer for %d resources after %.1f s; "+
		"%d of %d acknowledged writes came as events to informers that never listed again\n",
		len(w.informers), time.Since(start).Seconds(), events, len(acks)), problems
}

// verifyStore looks for every acknowledged object in the store itself.
func (w *workload) verifyStore(ctx context.Context, lives map[objectName]*life) (summary string, problems []string) {
	objects, leases := 0, 0
	var behind []string
	for _, r := range []*resource{w.load.configMaps, w.load.events, w.load.widgets} {
		records, revision, err := w.store.read(ctx, r)
		if err != nil {
			return "", []string{err.Error()}
		}
		if highest := w.load.journal.highest.Load(); revision < highest {
			behind = []string{fmt.Sprintf("the store is at revision %d, resourceVersion %d was acknowledged",
				revision, highest)}
		}
		written := map[string]stored{}
		for o, l := range lives {
			if o.resource != r.name {
				continue
			}
			objects++
			f, err := r.find(records[o.name])
			if err == nil {
				err = l.check(f)
			}
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", o, err))
			} else if f.hash != "" {
				written[o.name] = records[o.name]
			}
		}
		if r == w.load.events {
			var gone []string
			leases, gone = w.store.checkLeases(ctx, written)
			problems = append(problems, gone...)
		}
	}
	slices.Sort(problems)
	summary = fmt.Sprintf("%d objects, deleted ones among them, as acknowledged in the store; leases alive: %d\n",
		objects, leases)
	return summary, append(behind, problems...)
}

// settle waits until the store, a consistent list and the informer's cache hold the same objects at the same versions.
func (w *workload) settle(ctx context.Context, i *informer) error {
	var differ string
	for {
		records, _, err := w.store.read(ctx, i.resource, clientv3.WithKeysOnly())
		if err == nil {
			var listed map[string]uint64
			if listed, err = i.listed(ctx); err == nil {
				inStore := map[string]uint64{}
				for name, r := range records {
					inStore[name] = r.version
				}
				differ = difference("the API server's list", listed, inStore)
				if differ == "" {
					differ = difference("the informer's cache", i.cached(), inStore)
				}
				if differ == "" {
					return nil
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			differ = err.Error()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("informer %s: %s", i.name, differ)
		}
		pause(ctx)
	}
}

// difference tells how a view differs from the store; nothing when it does not.
func difference(view string, got, want map[string]uint64) string {
	var wrong []string
	for name, v := range want {
		if got[name] != v {
			wrong = append(wrong, fmt.Sprintf("%s at %d instead of %d", name, got[name], v))
		}
	}
	for name, v := range got {
		if want[name] == 0 {
			wrong = append(wrong, fmt.Sprintf("%s at %d, which the store does not have", name, v))
		}
	}
	if len(wrong) == 0 {
		return ""
	}
	slices.Sort(wrong)
	return fmt.Sprintf("%s differs from the store in %d of %d objects: %s", view, len(wrong), len(want),
		strings.Join(wrong[:min(3, len(wrong))], ", "))
}

// probe creates an object of each resource and waits until its informer has it, then deletes it unless it is to stay, and
// waits until the informer has lost it.
func (w *workload) probe(ctx context.Context, name string, keep bool) (problems []string) {
	for _, i := range w.informers {
		if err := w.probeOne(ctx, i, name, keep); err != nil {
			problems = append(problems, fmt.Sprintf("informer %s: %v", i.name, err))
		}
	}
	return problems
}

func (w *workload) probeOne(ctx context.Context, i *informer, name string, keep bool) error {
	var created object
	err := retry(ctx, "creating "+name, func(ctx context.Context) (err error) {
		if created, err = i.create(ctx, name, "probe"); decided(err) {
			created, err = i.get(ctx, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = retry(ctx, "waiting for the event of "+name, func(context.Context) error {
		if v := i.cached()[name]; v < versionOf(created) {
			return fmt.Errorf("created at resourceVersion %d, the informer has it at %d", versionOf(created), v)
		}
		return nil
	})
	if err != nil || keep {
		return err
	}
	err = retry(ctx, "deleting "+name, func(ctx context.Context) error {
		if err := i.delete(ctx, name); !decided(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return retry(ctx, "waiting for the deletion of "+name, func(context.Context) error {
		if v := i.cached()[name]; v != 0 {
			return fmt.Errorf("deleted, the informer still has it at resourceVersion %d", v)
		}
		return nil
	})
}

// retry calls f until it succeeds or the time is over.
func retry(ctx context.Context, what string, f func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, requestTimeout)
		err := f(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			if err != nil {
				err = fmt.Errorf("%s: %w", what, err)
			}
			return err
		}
		pause(ctx)
	}
}
