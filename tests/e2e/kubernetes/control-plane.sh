#!/usr/bin/env bash
# control-plane.sh up|restart|down DIR: the store (see store.sh), kube-apiserver, kube-controller-manager and kube-scheduler,
# without nodes. Guarantees after `up` that the API server is ready and the default ServiceAccount exists, with
# DIR/pki/admin.kubeconfig for kubectl; after `restart` that the API server is another process, with the same flags, and
# ready; after `down` that none of them runs. Data and logs stay in DIR.
#
# BIND (127.0.0.1) and PORT (16443; the two after are the other components') are the API server's; STORE_BIN and
# STORE_PORT (12379) the store's; NODES the names of nodes that get certificates. AUDIT names a namespace: the requests
# of its service accounts are logged in DIR/audit.log. NODE_GRACE is the time after which a silent node is lost.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 2 ] || { echo "usage: control-plane.sh up|restart|down DIR" >&2; exit 2; }
action=$1 D=$(realpath -m "$2")
# shellcheck source=process.sh
. "$here/process.sh"
BIN=${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}/bin
BIND=${BIND:-127.0.0.1} PORT=${PORT:-16443}
P=$D/pki
SERVICES=10.96.0.0/16
export KUBECONFIG=$P/admin.kubeconfig KUBECACHEDIR=$D/kubectl-cache

write_apiserver_args() {
  printf '%s\n' "$BIN/kube-apiserver" \
    --etcd-servers="$(cat "$D/store.url")" --etcd-cafile="$P/store-ca.crt" \
    --etcd-certfile="$P/store-client.crt" --etcd-keyfile="$P/store-client.key" \
    --bind-address="$BIND" --advertise-address="$BIND" --secure-port="$PORT" \
    --endpoint-reconciler-type="${RECONCILER:-none}" \
    --tls-cert-file="$P/apiserver.crt" --tls-private-key-file="$P/apiserver.key" --client-ca-file="$P/ca.crt" \
    --kubelet-client-certificate="$P/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$P/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$P/sa.pub" \
    --service-account-signing-key-file="$P/sa.key" --service-cluster-ip-range="$SERVICES" \
    --authorization-mode=Node,RBAC --allow-privileged=true --profiling=false >"$D/kube-apiserver.args"
  [ -z "${AUDIT-}" ] || audit_args >>"$D/kube-apiserver.args"
  echo "https://$BIND:$PORT" >"$D/kube-apiserver.url"
}

audit_args() {
  cat >"$D/audit.yaml" <<Y
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata, userGroups: ["system:serviceaccounts:$AUDIT"]}, {level: None}]
Y
  printf '%s\n' --audit-policy-file="$D/audit.yaml" --audit-log-path="$D/audit.log" --audit-log-mode=blocking
}

start_apiserver() {
  local args
  mapfile -t args <"$D/kube-apiserver.args"
  start kube-apiserver "${args[@]}"
  until_true 90 api_ready_or_ended || true
  api_ready && running kube-apiserver || { say_last kube-apiserver; exit 1; }
}

start_controllers() {
  # Leases as every control plane has them, but patient: on a busy machine a store that is away for some seconds must not
  # end a controller.
  local election=(--leader-elect=true --leader-elect-lease-duration=60s --leader-elect-renew-deadline=45s)
  start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$P/controller-manager.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=$((PORT + 1)) "${election[@]}" \
    --use-service-account-credentials=true --root-ca-file="$P/ca.crt" \
    --service-account-private-key-file="$P/sa.key" --cluster-signing-cert-file="$P/ca.crt" \
    --cluster-signing-key-file="$P/ca.key" --service-cluster-ip-range="$SERVICES" --flex-volume-plugin-dir="$D/flex" \
    --node-monitor-grace-period="${NODE_GRACE:-50s}"
  start kube-scheduler "$BIN/kube-scheduler" --kubeconfig="$P/scheduler.kubeconfig" \
    --bind-address=127.0.0.1 --secure-port=$((PORT + 2)) "${election[@]}"
}

api_ready() {
  [ "$(curl -s --max-time 2 --cacert "$P/ca.crt" --cert "$P/admin.crt" --key "$P/admin.key" \
    "$(cat "$D/kube-apiserver.url")/readyz" || true)" = ok ]
}
api_ready_or_ended() { api_ready || ended kube-apiserver; }
account_exists() { "$BIN/kubectl" get serviceaccount default >"$D/wait.out" 2>&1; }

case $action in
up)
  mkdir -p "$D"
  # shellcheck disable=SC2086
  "$here/pki.sh" "$P" "https://$BIND:$PORT" ${NODES-}
  "$here/store.sh" start "$D"
  write_apiserver_args
  start_apiserver
  start_controllers
  until_true 60 account_exists || { say_last kube-controller-manager; exit 1; }
  ;;
restart)
  end kube-apiserver KILL
  start_apiserver
  ;;
down)
  # The API server would drain its connections for up to a minute, and no client would profit.
  for name in kube-scheduler kube-controller-manager kube-apiserver; do end "$name" KILL; done
  "$here/store.sh" stop "$D"
  ;;
*) echo "control-plane.sh: unknown action $action" >&2; exit 2 ;;
esac
