# shellcheck shell=bash disable=SC2034,SC2154
# checks.sh is sourced by job.sh: the checks of the job on a cluster. A check that fails says why in $reason.
reason=

api_ready() {
  [ "$(curl -s --max-time 2 --cacert pki/ca.crt --cert pki/admin.crt --key pki/admin.key \
    "$(cat kube-apiserver.url)/readyz" || true)" = ok ]
}

# store_demands_our_certificate: the store serves a client with the API server's certificate, and refuses a client with
# no certificate or with one of another authority.
store_demands_our_certificate() {
  local url
  url=$(cat store.url)/version
  store_curl --cert pki/store-client.crt --key pki/store-client.key -f "$url" && ! store_curl "$url" &&
    ! store_curl --cert pki/admin.crt --key pki/admin.key "$url"
}

store_curl() { curl -s --max-time 5 --cacert pki/store-ca.crt "$@" >/dev/null; }

store_etcdctl() {
  etcdctl --endpoints "$(cat store.url)" --cacert pki/store-ca.crt \
    --cert pki/store-client.crt --key pki/store-client.key "$@"
}

# schema_in_force: a custom resource is accepted, and refused with a value that its schema forbids.
schema_in_force() {
  widget 3 | kubectl apply --dry-run=server -f - >>kubectl.log &&
    ! widget 10 | kubectl apply --dry-run=server -f - 2>>kubectl.log
}
widget() { printf '{apiVersion: e2e.quorate.dev/v1, kind: Widget, metadata: {name: schema}, spec: {size: %d}}' "$1"; }

# controllers_follow REPLICAS: Deployment web has so many pods, and the StatefulSets have theirs; with nodes all are
# Ready.
controllers_follow() {
  local field=replicas
  [ "$mode" = control-plane ] || field=readyReplicas
  has_replicas deployment/web "$field" "$1" && has_replicas statefulset/ring "$field" 2 &&
    has_replicas statefulset/db "$field" 3 || return 1
  until_true 60 pods_are web "$1" && until_true 60 pods_are ring 2 && until_true 60 pods_are db 3 || return 1
  if [ "$mode" = control-plane ]; then
    # There is no node for them: the scheduler has looked at each and said so.
    reason="the scheduler did not look at a pod of web"
    kubectl wait --for=condition=PodScheduled=false pod --selector app=web --timeout=60s >>kubectl.log || return 1
  fi
  reason=
}

has_replicas() { # OBJECT FIELD NUMBER
  reason="$1 has not $3 $2 (kubectl.log)"
  kubectl wait "$1" --for=jsonpath="{.status.$2}=$3" --timeout=120s >>kubectl.log 2>&1
}

pods_are() { # APP NUMBER
  local pods
  pods=$(kubectl get pods --selector "app=$1" --output name | wc -l)
  reason="$pods pods of $1 instead of $2"
  [ "$pods" = "$2" ]
}

uid() { kubectl get pod "$1" --output jsonpath='{.metadata.uid}' 2>>kubectl.log; }
replaced() { # POD UID
  local now
  now=$(uid "$1") && [ -n "$now" ] && [ "$now" != "$2" ]
}

# pod_comes_back: db-1 is made again after its deletion. With nodes it has its old volume, is Ready, and is known to DNS
# and kube-proxy; and no container was started twice because the store was away.
pod_comes_back() {
  local old restarts
  if [ "$mode" = nodes ]; then
    restarts=$(kubectl get pods --output jsonpath='{.items[*].status.containerStatuses[*].restartCount}')
    reason="containers were started again: $restarts"
    [[ $restarts =~ ^[0\ ]+$ ]] || return 1
    reason="its volume had not been written before"
    [ "$(starts)" = 1 ] || return 1
  fi
  old=$(uid db-1)
  reason="db-1 was not made again"
  kubectl delete pod db-1 --wait=false >>kubectl.log
  until_true 60 replaced db-1 "$old" || return 1
  [ "$mode" = nodes ] || return 0
  reason="db-1 did not become Ready again"
  kubectl wait --for=condition=Ready pod/db-1 --timeout=90s >>kubectl.log || return 1
  reason="db-1 came back without its volume"
  [ "$(starts)" = 2 ] || return 1
  # DNS and kube-proxy follow through informers of their own.
  reason="cluster DNS does not know db-1's new address"
  until_true 30 resolves || return 1
  reason="Service web does not answer in a pod"
  until_true 30 service_answers || return 1
  reason=
}

starts() { kubectl exec db-1 -- /testpod cat /data/starts 2>>kubectl.log; }
resolves() {
  local address
  address=$(kubectl get pod db-1 --output jsonpath='{.status.podIP}')
  [ -n "$address" ] && [ "$(kubectl exec ring-0 -- /testpod lookup db-1.db 2>>kubectl.log)" = "$address" ]
}
service_answers() { kubectl exec ring-0 -- /testpod get http://web/ >>kubectl.log 2>&1; }

# printed_all: kubectl --watch has shown every ConfigMap of the load.
printed_all() { [ "$(grep -a '^configmap/cm-' watch-configmaps.log | sort -u | wc -l)" = "$CONFIGMAPS" ]; }
