// Command workload is the client of the Kubernetes end-to-end test (../main-job.sh): it writes thousands of objects to an
// API server and journals what was acknowledged, watches six resources with shared informers, and verifies both against
// the store. It is driven over HTTP on a unix socket:
//
//	/start                    begin to write
//	/stop                     begin nothing more; what is begun is still written
//	/pauses                   the longest a write took, and the longest pause of the machine, since they were asked for last
//	/wait?created=N&within=S  wait until N ConfigMaps are acknowledged; without N, until all is written
//	/probe?name=X&within=S    create an object X of each resource and see it come to the informers, and go
//	/probe?name=X&keep=1&...  the same, but it stays
//	/verify?within=S          compare what was acknowledged, the store, consistent lists and the informers' caches
//	/report                   figures
//
// S is a number of seconds. An answer other than 200 has the reasons, one a line.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

type workload struct {
	journalPath string
	load        *load
	informers   []*informer
	store       *store
	faults      *faults
	workers     int
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "of the API server")
	namespace := flag.String("namespace", "default", "to write to; it must exist")
	endpoint := flag.String("store", "", "URL of the store under the API server")
	pki := flag.String("pki", "", "folder with the certificates of pki.sh")
	socket := flag.String("socket", "", "unix socket to serve on")
	journalPath := flag.String("journal", "", "file to keep what was acknowledged in; it must not exist")
	run := flag.String("run", "", "name of this run, part of everything it writes")
	objects := flag.Int("configmaps", 5000, "ConfigMaps to create")
	pace := flag.Int("pace", 0, "ConfigMaps to create in a second; 0 is as many as possible")
	workers := flag.Int("workers", 16, "concurrent writers")
	flag.Parse()
	if err := serve(*kubeconfig, *namespace, *endpoint, *pki, *socket, *journalPath, *run, *objects, *pace, *workers); err != nil {
		log.Fatal(err)
	}
}

func serve(kubeconfig, namespace, endpoint, pki, socket, journalPath, run string, objects, pace, workers int) error {
	ctx := context.Background()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1 // the API server sets the pace
	resources, err := newResources(config, namespace)
	if err != nil {
		return err
	}
	j, err := newJournal(journalPath)
	if err != nil {
		return err
	}
	w := &workload{journalPath: journalPath, faults: &faults{}, workers: workers}
	if w.store, err = openStore(endpoint, pki); err != nil {
		return err
	}
	w.load = newLoad(run, resources, j, w.faults, objects, pace)
	if pace > 0 {
		go w.load.pauses.watchMachine(journalPath + ".canary")
	}
	for _, r := range resources {
		i, err := newInformer(r, w.faults)
		if err != nil {
			return err
		}
		w.informers = append(w.informers, i)
		go i.shared.RunWithContext(ctx)
	}
	for _, i := range w.informers {
		if !cache.WaitForCacheSync(ctx.Done(), i.shared.HasSynced) {
			return fmt.Errorf("informer %s did not sync", i.name)
		}
	}
	l, err := net.Listen("unix", socket) // from now on a caller knows that every informer has its first list
	if err != nil {
		return err
	}
	return http.Serve(l, w.routes(ctx))
}

func (w *workload) routes(lifetime context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/start", func(http.ResponseWriter, *http.Request) { w.load.start(lifetime, w.workers) })
	mux.HandleFunc("/stop", func(http.ResponseWriter, *http.Request) { w.load.stopped.Store(true) })
	mux.HandleFunc("/pauses", func(out http.ResponseWriter, _ *http.Request) { w.load.pauses.report(out) })
	mux.HandleFunc("/wait", within(func(ctx context.Context, r *http.Request) (string, []string) {
		return w.wait(ctx, r.FormValue("created"))
	}))
	mux.HandleFunc("/probe", within(func(ctx context.Context, r *http.Request) (string, []string) {
		return "", w.probe(ctx, r.FormValue("name"), r.FormValue("keep") != "")
	}))
	mux.HandleFunc("/verify", within(func(ctx context.Context, _ *http.Request) (string, []string) {
		return w.verify(ctx)
	}))
	mux.HandleFunc("/report", func(out http.ResponseWriter, _ *http.Request) { w.report(out) })
	return mux
}

// within makes a handler of what has a deadline and returns an answer and reasons why it is not good.
func within(f func(context.Context, *http.Request) (string, []string)) http.HandlerFunc {
	return func(out http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.Atoi(r.FormValue("within"))
		if err != nil {
			http.Error(out, "within: "+err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
		defer cancel()
		answer, problems := f(ctx, r)
		if len(problems) == 0 {
			fmt.Fprint(out, answer)
			return
		}
		http.Error(out, strings.Join(problems, "\n"), http.StatusInternalServerError)
	}
}

// wait returns when so many ConfigMaps are acknowledged, or, without a number, when all is written.
func (w *workload) wait(ctx context.Context, created string) (string, []string) {
	want, err := strconv.ParseInt(created, 10, 64)
	if created != "" && err != nil {
		return "", []string{err.Error()}
	}
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-w.load.done:
			if n := w.load.created.Load(); n < want || n < w.load.wanted() {
				return "", append(w.faults.all(), fmt.Sprintf("the load ended with %d ConfigMaps acknowledged", n))
			}
			return "", nil
		case <-ctx.Done():
			last, _ := w.load.lastErr.Load().(string)
			return "", []string{fmt.Sprintf("%d of %d ConfigMaps acknowledged in time; last error: %s",
				w.load.created.Load(), w.load.wanted(), last)}
		case <-poll.C:
			if n := w.load.created.Load(); created != "" && n >= want {
				return fmt.Sprintln(n), nil
			}
		}
	}
}

func (w *workload) report(out io.Writer) {
	fmt.Fprintf(out, "acknowledged writes: %d (", w.load.total())
	for o := range numOps {
		fmt.Fprintf(out, "%ss %d, ", o, w.load.acked[o].Load())
	}
	fmt.Fprintf(out, "ConfigMaps created %d) in %.1f s\n", w.load.created.Load(), w.load.took.Seconds())
	fmt.Fprintf(out, "errors of unknown outcome: %d; writes shown by a read after an error: %d\n",
		w.load.unknown.Load(), w.load.byRead.Load())
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "informer\tobjects\tevents\trelists\trewatches\tlast resourceVersion\t")
	for _, i := range w.informers {
		i.mu.Lock()
		last := i.last
		i.mu.Unlock()
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t\n", i.name, len(i.shared.GetStore().ListKeys()), i.events.Load(),
			i.lists.Load()-1, i.watches.Load()-1, last)
	}
	table.Flush()
}
