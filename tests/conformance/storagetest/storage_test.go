// Package storagetest runs the API server's storage contract tests (k8s.io/apiserver/pkg/storage/testing)
// on the API server's own etcd3 storage, against an etcd-compatible server that already runs:
//
//	ETCD_ENDPOINTS=http://127.0.0.1:2379 go test .
//
// Everything in that server is deleted before each test, and its history compacted by some, so what
// needs a new server (WatchSemantics watches from revision 1) is skipped. Start it with
// --watch-progress-notify-interval=1s. Or with a server process of its own for each test, for which
// nothing is left out:
//
//	STORE_UNDER_TEST=/path/to/quorate go test .
//
// The program is started with etcd's flags. Or with a new server that another program has for each test, for
// which nothing is left out either:
//
//	SERVERS_FROM=127.0.0.1:1234 go test .
//
// Who listens there says the server's client URL in a line; the test is over when the connection is closed.
// Every test runs twice: the API server reading pages (Range)
// and reading streams (RangeStream).
package storagetest

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/grpc/grpclog"

	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	etcdfeature "k8s.io/apiserver/pkg/storage/feature"
	contract "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/utils/clock"
)

const valuePrefix = "test!"

var (
	scheme = runtime.NewScheme()
	codecs = serializer.NewCodecFactory(scheme)
	codec  = apitesting.TestCodec(codecs, examplev1.SchemeGroupVersion)
)

func init() {
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(scheme))
	utilruntime.Must(examplev1.AddToScheme(scheme))
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr))
}

// switchable is a value transformer whose working can be changed while a store uses it.
type switchable struct {
	now atomic.Pointer[value.Transformer]
}

func (s *switchable) set(t value.Transformer) { s.now.Store(&t) }
func (s *switchable) get() value.Transformer  { return *s.now.Load() }
func (s *switchable) TransformFromStorage(ctx context.Context, b []byte, d value.Context) ([]byte, bool, error) {
	return s.get().TransformFromStorage(ctx, b, d)
}
func (s *switchable) TransformToStorage(ctx context.Context, b []byte, d value.Context) ([]byte, error) {
	return s.get().TransformToStorage(ctx, b, d)
}

// etcdStore is what etcd3.New returns, whose type has no exported name.
type etcdStore interface {
	storage.Interface
	CompactRevision() int64
	Close()
}

type fixture struct {
	etcdStore
	transformer *switchable
	prefix      *contract.PrefixTransformer
	client      *kubernetes.Client
	kv          *contract.KVRecorder
	lists       *contract.KubernetesRecorder
}

func (f *fixture) UpdatePrefixTransformer(modify contract.PrefixTransformerModifier) func() {
	changed := *f.prefix
	f.transformer.set(modify(&changed))
	return func() { f.transformer.set(f.prefix) }
}

func setup(t *testing.T) (context.Context, *fixture) {
	t.Helper()
	ctx := context.Background()
	var client *kubernetes.Client
	var err error
	switch endpoints := os.Getenv("ETCD_ENDPOINTS"); {
	case endpoints != "":
		client, err = kubernetes.New(clientv3.Config{Endpoints: strings.Split(endpoints, ","), DialTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		if _, err := client.KV.Delete(ctx, "\x00", clientv3.WithFromKey()); err != nil {
			t.Fatal(err)
		}
	case os.Getenv("STORE_UNDER_TEST") != "":
		client, err = kubernetes.New(clientv3.Config{Endpoints: []string{startServer(t)}, DialTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
	case os.Getenv("SERVERS_FROM") != "":
		client, err = kubernetes.New(clientv3.Config{Endpoints: []string{borrowServer(t)}, DialTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
	default:
		t.Fatal("none of ETCD_ENDPOINTS, STORE_UNDER_TEST and SERVERS_FROM is set")
	}
	f := &fixture{client: client, prefix: contract.NewPrefixTransformer([]byte(valuePrefix), false), transformer: &switchable{}}
	f.transformer.set(f.prefix)
	f.lists = contract.NewKubernetesRecorder(client.Kubernetes)
	f.kv = contract.NewKVRecorder(client.KV, f.lists)
	client.KV, client.Kubernetes = f.kv, f.lists
	compactor := etcd3.NewCompactor(client.Client, 0, clock.RealClock{}, nil)
	t.Cleanup(compactor.Stop)
	lease := etcd3.NewDefaultLeaseManagerConfig()
	lease.ReuseDurationSeconds = 1
	versioner := storage.APIObjectVersioner{}
	f.etcdStore, err = etcd3.New(client, compactor, codec,
		func() runtime.Object { return &example.Pod{} }, func() runtime.Object { return &example.PodList{} },
		"", "/pods/", schema.GroupResource{Resource: "pods"}, f.transformer, lease,
		etcd3.NewDefaultDecoder(codec, versioner), versioner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return ctx, f
}

// borrowServer returns the client URL of a new server that is there until the test ends.
func borrowServer(t *testing.T) string {
	t.Helper()
	lender, err := net.Dial("tcp", os.Getenv("SERVERS_FROM"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lender.Close() })
	url, err := bufio.NewReader(lender).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// startServer runs the program under test with a fresh data directory and returns its client URL.
func startServer(t *testing.T) string {
	t.Helper()
	// Another process may take a port between our looking for a free one and the server's binding it.
	for range 3 {
		if url, ok := tryServer(t); ok {
			return url
		}
	}
	t.Fatal("the server did not become healthy")
	return ""
}

// tryServer starts the program on two free ports and reports whether it became healthy. What it started
// ends with the test.
func tryServer(t *testing.T) (clientURL string, ok bool) {
	urls, listeners := make([]string, 2), []net.Listener{}
	for i := range urls {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = "http://" + l.Addr().String()
		listeners = append(listeners, l) // held until both are known, so that they differ
	}
	for _, l := range listeners {
		l.Close()
	}
	cmd := exec.Command(os.Getenv("STORE_UNDER_TEST"), "--name", "default", "--data-dir", t.TempDir(),
		"--listen-client-urls", urls[0], "--advertise-client-urls", urls[0],
		"--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1], "--initial-cluster", "default="+urls[1],
		"--watch-progress-notify-interval", "1s", "--log-level", "error")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	client := http.Client{Timeout: time.Second}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if r, err := client.Get(urls[0] + "/health"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return urls[0], true
			}
		}
		select {
		case <-ended:
			return "", false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return "", false
}

// stored checks that what is kept in etcd is the object, without its version.
func (f *fixture) stored(ctx context.Context, t *testing.T, key string) {
	r, err := f.client.KV.Get(ctx, key)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("get %s: %v, %v", key, r, err)
	}
	o, err := runtime.Decode(codec, r.Kvs[0].Value[len(valuePrefix):])
	if err != nil {
		t.Fatal(err)
	}
	if v := o.(*example.Pod).ResourceVersion; v != "" {
		t.Errorf("the stored object has resource version %s", v)
	}
}

func (f *fixture) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	rev, err := storage.APIObjectVersioner{}.ParseResourceVersion(resourceVersion)
	if err != nil {
		t.Fatal(err)
	}
	version, _, _, err := etcd3.Compact(ctx, f.client.Client, 0, int64(rev))
	if err != nil {
		_, _, _, err = etcd3.Compact(ctx, f.client.Client, version, int64(rev))
	}
	if err != nil {
		t.Fatal(err)
	}
	for enabled(features.ListFromCacheSnapshot) && f.CompactRevision() != int64(rev) {
		time.Sleep(50 * time.Millisecond)
	}
}

func (f *fixture) increase(ctx context.Context, t *testing.T) int64 {
	r, err := f.client.KV.Put(ctx, "increaseRV", "ok")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// calls checks how many reads listing took: pages double until all is found.
func (f *fixture) calls(t *testing.T, pageSize, objects uint64) {
	if n := f.prefix.GetReadsAndReset(); n != objects {
		t.Errorf("%d objects read, want %d", n, objects)
	}
	want := uint64(1)
	if pageSize != 0 {
		for page, sum := pageSize, uint64(1); sum < objects; want++ {
			page = min(page*2, 10000)
			sum += page
		}
	}
	if n := f.kv.GetReadsAndReset() + f.kv.GetStreamReadsAndReset(); n != want {
		t.Errorf("%d read calls, want %d", n, want)
	}
}

func enabled(f featuregate.Feature) bool { return utilfeature.DefaultFeatureGate.Enabled(f) }

func gate(t *testing.T, f featuregate.Feature, on bool) {
	featuregatetesting.SetFeatureGateDuringTest(t, utilfeature.DefaultFeatureGate, f, on)
}

// newChecker forgets which of the server's features were found before.
func newChecker(t *testing.T) {
	was := etcdfeature.DefaultFeatureSupportChecker
	etcdfeature.DefaultFeatureSupportChecker = etcdfeature.NewDefaultFeatureSupportChecker()
	t.Cleanup(func() { etcdfeature.DefaultFeatureSupportChecker = was })
}

func TestContract(t *testing.T) {
	type run func(context.Context, *testing.T, *fixture)
	plain := func(f func(context.Context, *testing.T, storage.Interface)) run {
		return func(ctx context.Context, t *testing.T, x *fixture) { f(ctx, t, x) }
	}
	prefixed := func(f func(context.Context, *testing.T, contract.InterfaceWithPrefixTransformer)) run {
		return func(ctx context.Context, t *testing.T, x *fixture) { f(ctx, t, x) }
	}
	tests := []struct {
		name string
		run  run
	}{
		{"Create", func(c context.Context, t *testing.T, f *fixture) { contract.RunTestCreate(c, t, f, f.stored) }},
		{"CreateWithTTL", plain(contract.RunTestCreateWithTTL)},
		{"CreateWithKeyExist", plain(contract.RunTestCreateWithKeyExist)},
		{"Get", plain(contract.RunTestGet)},
		{"UnconditionalDelete", plain(contract.RunTestUnconditionalDelete)},
		{"ConditionalDelete", plain(contract.RunTestConditionalDelete)},
		{"DeleteWithSuggestion", plain(contract.RunTestDeleteWithSuggestion)},
		{"DeleteWithSuggestionAndConflict", plain(contract.RunTestDeleteWithSuggestionAndConflict)},
		{"DeleteWithConflict", plain(contract.RunTestDeleteWithConflict)},
		{"DeleteWithSuggestionOfDeletedObject", plain(contract.RunTestDeleteWithSuggestionOfDeletedObject)},
		{"ValidateDeletionWithSuggestion", plain(contract.RunTestValidateDeletionWithSuggestion)},
		{"ValidateDeletionWithOnlySuggestionValid", plain(contract.RunTestValidateDeletionWithOnlySuggestionValid)},
		{"PreconditionalDeleteWithSuggestion", plain(contract.RunTestPreconditionalDeleteWithSuggestion)},
		{"PreconditionalDeleteWithOnlySuggestionPass", plain(contract.RunTestPreconditionalDeleteWithOnlySuggestionPass)},
		{"List", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestList(c, t, f, f.compact, false, f.lists)
		}},
		{"ConsistentList", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestConsistentList(c, t, f, f.increase, false, true, false)
		}},
		{"GetListNonRecursive", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestGetListNonRecursive(c, t, f.increase, f)
		}},
		{"GetListRecursivePrefix", plain(contract.RunTestGetListRecursivePrefix)},
		{"ListContinuation", func(c context.Context, t *testing.T, f *fixture) { contract.RunTestListContinuation(c, t, f, f.calls) }},
		{"ListPaginationRareObject", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestListPaginationRareObject(c, t, f, f.calls)
		}},
		{"ListContinuationWithFilter", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestListContinuationWithFilter(c, t, f, f.calls)
		}},
		{"ListInconsistentContinuation", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestListInconsistentContinuation(c, t, f, f.compact)
		}},
		{"ListResourceVersionMatch", prefixed(contract.RunTestListResourceVersionMatch)},
		{"ListPaging", plain(contract.RunTestListPaging)},
		{"NamespaceScopedList", plain(contract.RunTestNamespaceScopedList)},
		{"KeySchema", plain(contract.RunTestKeySchema)},
		{"GuaranteedUpdate", func(c context.Context, t *testing.T, f *fixture) { contract.RunTestGuaranteedUpdate(c, t, f, f.stored) }},
		{"GuaranteedUpdateWithTTL", plain(contract.RunTestGuaranteedUpdateWithTTL)},
		{"GuaranteedUpdateChecksStoredData", prefixed(contract.RunTestGuaranteedUpdateChecksStoredData)},
		{"GuaranteedUpdateWithConflict", plain(contract.RunTestGuaranteedUpdateWithConflict)},
		{"GuaranteedUpdateWithSuggestionAndConflict", plain(contract.RunTestGuaranteedUpdateWithSuggestionAndConflict)},
		{"TransformationFailure", prefixed(contract.RunTestTransformationFailure)},
		{"Stats", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestStats(c, t, f, codec, f.transformer, false)
		}},
		{"CompactRevision", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestCompactRevision(c, t, f, f.increase, f.compact)
		}},
		{"Watch", plain(contract.RunTestWatch)},
		{"ClusterScopedWatch", plain(contract.RunTestClusterScopedWatch)},
		{"NamespaceScopedWatch", plain(contract.RunTestNamespaceScopedWatch)},
		{"DeleteTriggerWatch", plain(contract.RunTestDeleteTriggerWatch)},
		{"WatchFromZero", func(c context.Context, t *testing.T, f *fixture) { contract.RunTestWatchFromZero(c, t, f, f.compact) }},
		{"WatchFromNonZero", plain(contract.RunTestWatchFromNonZero)},
		{"DelayedWatchDelivery", plain(contract.RunTestDelayedWatchDelivery)},
		{"WatchError", prefixed(contract.RunTestWatchError)},
		{"WatchContextCancel", plain(contract.RunTestWatchContextCancel)},
		{"WatcherTimeout", plain(contract.RunTestWatcherTimeout)},
		{"WatchDeleteEventObjectHaveLatestRV", plain(contract.RunTestWatchDeleteEventObjectHaveLatestRV)},
		{"WatchInitializationSignal", plain(contract.RunTestWatchInitializationSignal)},
		// With the server's --watch-progress-notify-interval=1s:
		{"ProgressNotify", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunOptionalTestProgressNotify(c, t, f, f.increase)
		}},
		{"WatchDispatchBookmarkEvents", func(c context.Context, t *testing.T, f *fixture) {
			contract.RunTestWatchDispatchBookmarkEvents(c, t, f, false)
		}},
		{"SendInitialEventsBackwardCompatibility", plain(contract.RunSendInitialEventsBackwardCompatibility)},
		{"WatchSemantics", plain(contract.RunWatchSemantics)},
		{"WatchSemanticInitialEventsExtended", plain(contract.RunWatchSemanticInitialEventsExtended)},
		{"WatchListMatchSingle", plain(contract.RunWatchListMatchSingle)},
		{"WatchErrorIsBlockingFurtherEvents", prefixed(contract.RunWatchErrorIsBlockingFurtherEvents)},
	}
	for _, stream := range []bool{false, true} {
		name := "pages"
		if stream {
			name = "RangeStream"
		}
		t.Run(name, func(t *testing.T) {
			for _, x := range tests {
				t.Run(x.name, func(t *testing.T) {
					if x.name == "WatchSemantics" && os.Getenv("ETCD_ENDPOINTS") != "" {
						t.Skip("needs a new server")
					}
					gate(t, features.EtcdRangeStream, stream)
					gate(t, features.ListFromCacheSnapshot, x.name == "CompactRevision")
					newChecker(t)
					ctx, f := setup(t)
					x.run(ctx, t, f)
				})
			}
		})
	}
}
