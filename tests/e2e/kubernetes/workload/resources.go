package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// An object is what the API server serves.
type object interface {
	metav1.Object
	runtime.Object
}

// A writer changes and reads single objects of one resource.
type writer interface {
	create(ctx context.Context, name, content string) (object, error)
	update(ctx context.Context, name, resourceVersion, content string) (object, error)
	get(ctx context.Context, name string) (object, error)
	delete(ctx context.Context, name string) error
}

// A resource is one kind of object in the workload's namespace.
type resource struct {
	writer
	name      string // plural, lower case
	keys      string // what the names of its objects are preceded by in the store
	listWatch *cache.ListWatch
	example   runtime.Object
	decode    runtime.Decoder // of what the store holds
}

var widgetResource = schema.GroupVersionResource{Group: "e2e.quorate.dev", Version: "v1", Resource: "widgets"}

// newResources returns the resources that have informers. The load writes the first three.
func newResources(config *rest.Config, namespace string) ([]*resource, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	core, apps := clients.CoreV1(), clients.AppsV1()
	widgets := dynamicClient.Resource(widgetResource).Namespace(namespace)
	native := func(name string, w writer, example runtime.Object, from cache.Getter) *resource {
		return &resource{
			writer: w, name: name, keys: "/registry/" + name + "/" + namespace + "/", example: example,
			listWatch: cache.NewListWatchFromClient(from, name, namespace, fields.Everything()),
			decode:    scheme.Codecs.UniversalDeserializer(),
		}
	}
	return []*resource{
		native("configmaps", typed[*corev1.ConfigMap]{core.ConfigMaps(namespace), buildConfigMap},
			&corev1.ConfigMap{}, core.RESTClient()),
		native("events", typed[*corev1.Event]{core.Events(namespace), buildEvent(namespace)},
			&corev1.Event{}, core.RESTClient()),
		{
			writer: typed[widget]{widgetAPI{widgets}, buildWidget},
			name:   "widgets", keys: "/registry/" + widgetResource.Group + "/widgets/" + namespace + "/",
			example: &unstructured.Unstructured{}, decode: unstructured.UnstructuredJSONScheme,
			listWatch: &cache.ListWatch{
				ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
					return widgets.List(ctx, o)
				},
				WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
					return widgets.Watch(ctx, o)
				},
			},
		},
		native("deployments", typed[*appsv1.Deployment]{apps.Deployments(namespace), buildDeployment},
			&appsv1.Deployment{}, apps.RESTClient()),
		native("statefulsets", typed[*appsv1.StatefulSet]{apps.StatefulSets(namespace), buildStatefulSet},
			&appsv1.StatefulSet{}, apps.RESTClient()),
		native("pods", typed[*corev1.Pod]{core.Pods(namespace), buildPod}, &corev1.Pod{}, core.RESTClient()),
	}, nil
}

// api is what client-go's typed clients have in common.
type api[T object] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Update(context.Context, T, metav1.UpdateOptions) (T, error)
	Get(context.Context, string, metav1.GetOptions) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

type typed[T object] struct {
	api   api[T]
	build func(meta metav1.ObjectMeta, content string) T
}

func (t typed[T]) create(ctx context.Context, name, content string) (object, error) {
	return t.api.Create(ctx, t.build(metav1.ObjectMeta{Name: name}, content), metav1.CreateOptions{})
}

func (t typed[T]) update(ctx context.Context, name, resourceVersion, content string) (object, error) {
	meta := metav1.ObjectMeta{Name: name, ResourceVersion: resourceVersion}
	return t.api.Update(ctx, t.build(meta, content), metav1.UpdateOptions{})
}

// get reads from the store: without a resourceVersion the API server does not answer from its cache.
func (t typed[T]) get(ctx context.Context, name string) (object, error) {
	return t.api.Get(ctx, name, metav1.GetOptions{})
}

func (t typed[T]) delete(ctx context.Context, name string) error {
	return t.api.Delete(ctx, name, *metav1.NewDeleteOptions(0))
}

type widget = *unstructured.Unstructured

// widgetAPI gives the dynamic client the shape of a typed one.
type widgetAPI struct{ dynamic.ResourceInterface }

func (w widgetAPI) Create(ctx context.Context, o widget, opts metav1.CreateOptions) (widget, error) {
	return w.ResourceInterface.Create(ctx, o, opts)
}

func (w widgetAPI) Update(ctx context.Context, o widget, opts metav1.UpdateOptions) (widget, error) {
	return w.ResourceInterface.Update(ctx, o, opts)
}

func (w widgetAPI) Get(ctx context.Context, name string, opts metav1.GetOptions) (widget, error) {
	return w.ResourceInterface.Get(ctx, name, opts)
}

func (w widgetAPI) Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error {
	return w.ResourceInterface.Delete(ctx, name, opts)
}

func buildConfigMap(meta metav1.ObjectMeta, content string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"payload": content}}
}

func buildEvent(namespace string) func(metav1.ObjectMeta, string) *corev1.Event {
	return func(meta metav1.ObjectMeta, content string) *corev1.Event {
		about := corev1.ObjectReference{Kind: "ConfigMap", APIVersion: "v1", Namespace: namespace, Name: meta.Name}
		return &corev1.Event{
			ObjectMeta: meta, InvolvedObject: about, Message: content, Reason: "Workload", Type: corev1.EventTypeNormal,
			FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 1,
			Source: corev1.EventSource{Component: "workload"},
		}
	}
}

func buildWidget(meta metav1.ObjectMeta, content string) widget {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"payload": content, "size": int64(3)}}}
	o.SetGroupVersionKind(widgetResource.GroupVersion().WithKind("Widget"))
	o.SetName(meta.Name)
	o.SetResourceVersion(meta.ResourceVersion)
	return o
}

func buildDeployment(meta metav1.ObjectMeta, _ string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32), Selector: selector(meta.Name), Template: podTemplate(meta.Name),
	}}
}

func buildStatefulSet(meta metav1.ObjectMeta, _ string) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32), Selector: selector(meta.Name), Template: podTemplate(meta.Name), ServiceName: meta.Name,
	}}
}

func buildPod(meta metav1.ObjectMeta, _ string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: meta, Spec: podTemplate(meta.Name).Spec}
}

func selector(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

// podTemplate is of pods that no node takes: they are there to be seen, not to run.
func podTemplate(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"e2e.quorate.dev/nowhere": ""},
			Containers:   []corev1.Container{{Name: "testpod", Image: "localhost/testpod:1"}},
		},
	}
}

// contentOf returns what the load wrote into an object.
func contentOf(o runtime.Object) string {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		return o.Data["payload"]
	case *corev1.Event:
		return o.Message
	case widget:
		s, _, _ := unstructured.NestedString(o.Object, "spec", "payload")
		return s
	}
	return ""
}

// makeContent is what the load writes as an object's nth state: a text that names it, filled up with
// 200 to 900 bytes that no other state has.
func makeContent(run, resource, name string, state int) string {
	text := fmt.Sprintf("%s/%s state %d of run %s ", resource, name, state, run)
	sum := sha256.Sum256([]byte(text))
	filling := hex.EncodeToString(sum[:])
	return text + strings.Repeat(filling, 3+int(sum[0])%12)
}

func hashOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:8])
}

func versionOf(o metav1.Object) uint64 {
	return versionFrom(o.GetResourceVersion())
}

func versionFrom(s string) uint64 {
	v, _ := strconv.ParseUint(s, 10, 64)
	return v
}
