#!/usr/bin/env bash
# operator-job.sh MODE DIR: a store that the operator runs, through its whole life, under an API server that is written to
# all the time. main-job.sh calls it in a cluster of three nodes whose API server, DNS and volumes are not the operator's.
#
# Both charts are installed with the images in DIR/images. A second kube-apiserver runs as a pod, with a certificate that the
# operator issued and the store behind it; the workload writes to that one. Meanwhile operators are killed at random, and the
# certificates of members and clients live for two minutes. Guarantees, when it succeeds, that every step of $STEPS came to
# its end with the members that it wants; that no write took longer than $STALL_MS, the pauses of the machine taken off; that
# nothing acknowledged is missing and no informer missed an event; that the operator used each of its rights, was denied
# nothing, and wrote nothing while idle. DIR/timeline has the figures.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
D=$2
# shellcheck source=process.sh
. "$here/process.sh"
# shellcheck source=steps.sh
. "$here/steps.sh"
OPERATORS=quorate-system STORE=store CLUSTER=main NS=e2e
TENANT=10.96.0.100 # the second API server
LIFETIME=120 # of certificates, in seconds (manifests/cluster-values.yaml)
# shellcheck source=operator-checks.sh
. "$here/operator-checks.sh"
# shellcheck source=operator-faults.sh
. "$here/operator-faults.sh"
# shellcheck source=plant.sh
. "$here/plant.sh"
RANDOM=$SEED
PAUSE=0.3 # kubectl takes a tenth of a second of a processor
STALL_MS=${STALL_MS:-5000} IDLE=${IDLE:-20} PACE=${PACE:-15}
STEPS=${STEPS:-members_1_to_3 members_3_to_5 members_5_to_3 settings objects kill_leader kill_follower lose_disk upgrade
  lose_node renewal node_comes_back}

tear_down() {
  end killer TERM 5
  end workload TERM 5
}
at_end tear_down

tenant() { kubectl --kubeconfig tenant.kubeconfig "$@"; }
tenant_ready() { [ "$(tenant get --raw /readyz 2>>kubectl.log)" = ok ]; }

install() {
  local node zone=a
  kubectl apply -f "$here/manifests/disk.yaml" >kubectl.log
  for node in $(seq -f node%.0f "$N"); do
    kubectl label node "$node" "topology.kubernetes.io/zone=$zone" >>kubectl.log
    zone=$(tr a-y b-z <<<"$zone")
  done
  helm install quorate-operator "$root/charts/quorate-operator" --namespace $OPERATORS --create-namespace \
    --set test.storageClassName=disk --wait --timeout 120s >>helm.log 2>&1 || fail "the operator's chart does not install (helm.log)"
  helm install $CLUSTER "$root/charts/quorate-cluster" --namespace $STORE --create-namespace \
    --values "$here/manifests/cluster-values.yaml" >>helm.log 2>&1 || fail "the cluster's chart does not install (helm.log)"
  settle 1
}

helm_tests() {
  helm test quorate-operator --namespace $OPERATORS --timeout 180s >>helm.log 2>&1 || fail "helm test of the operator (helm.log)"
  helm test $CLUSTER --namespace $STORE --timeout 60s >>helm.log 2>&1 || fail "helm test of the cluster (helm.log)"
}

tenant_and_load() {
  tenant_manifest | kubectl apply --namespace $STORE -f - >>kubectl.log
  sed "s|server: .*, certificate-authority|server: \"https://$TENANT:6443\", tls-server-name: kubernetes, certificate-authority|" \
    pki/admin.kubeconfig >tenant.kubeconfig
  within 120 "/readyz of the second kube-apiserver" tenant_ready
  tenant create namespace $NS >>kubectl.log
  tenant apply -f "$here/manifests/crd.yaml" >>kubectl.log
  tenant wait --for=condition=Established crd/widgets.e2e.quorate.dev --timeout=60s >>kubectl.log
  fetch_credentials
  start workload workload -kubeconfig tenant.kubeconfig -namespace $NS -store "$(endpoint)" -pki "$D/store-pki" \
    -socket workload.sock -journal journal -run "$SEED" -configmaps 100000 -pace "$PACE"
  within 60 "the first list of every informer (log in $D/workload.log)" test -S workload.sock
  ask 60 "probe?name=before"
  ask 10 start
}

tenant_manifest() {
  cat <<Y
apiVersion: v1
kind: Service
metadata: {name: apiserver}
spec: {clusterIP: $TENANT, selector: {app: apiserver}, ports: [{port: 6443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: apiserver, labels: {app: apiserver}}
spec:
  nodeSelector: {kubernetes.io/hostname: node1} # the one that is never lost
  terminationGracePeriodSeconds: 1
  containers:
  - name: kube-apiserver
    image: localhost/testpod:1
    command:
    - /kube/kube-apiserver
    - --etcd-servers=$(endpoint)
    - --etcd-cafile=/store/ca.crt
    - --etcd-certfile=/store/tls.crt
    - --etcd-keyfile=/store/tls.key
    - --secure-port=6443
    - --tls-cert-file=/pki/apiserver.crt
    - --tls-private-key-file=/pki/apiserver.key
    - --client-ca-file=/pki/ca.crt
    - --service-account-issuer=https://kubernetes.default.svc
    - --service-account-key-file=/pki/sa.pub
    - --service-account-signing-key-file=/pki/sa.key
    - --service-cluster-ip-range=10.97.0.0/16
    - --endpoint-reconciler-type=none
    - --authorization-mode=RBAC
    - --disable-admission-plugins=ServiceAccount # no controller makes accounts here
    volumeMounts:
    - {name: kube, mountPath: /kube}
    - {name: pki, mountPath: /pki}
    - {name: store, mountPath: /store}
  volumes:
  - {name: kube, hostPath: {path: $QUORATE_TEST_CACHE/bin}}
  - {name: pki, hostPath: {path: $D/pki}}
  - {name: store, secret: {secretName: $CLUSTER-client-apiserver}}
Y
}

# scale NUMBER: scales the cluster to so many members.
scale() {
  kubectl scale quoratecluster/$CLUSTER --namespace $STORE --replicas="$1" >>kubectl.log
  settle "$1"
}
members_1_to_3() { scale 3; }
# The leading operator is stopped in the middle, for longer than its Lease, and goes on when another one has begun.
members_3_to_5() {
  local member known
  member=$(members | head -n 1)
  known=$(membership_changes "$member" | wc -l)
  end killer TERM 5
  kubectl scale quoratecluster/$CLUSTER --namespace $STORE --replicas=5 >>kubectl.log
  within 60 "a change under way" changing
  freeze_leading_operator
  settle 5
  start killer kill_operators
  membership_changes "$member" | tail -n "+$((known + 1))" >changes
  [ "$(cut -d' ' -f1 changes | sort | uniq -c | tr -s ' \n' ' ')" = " 2 added 2 promoted " ] ||
    fail "from 3 to 5 members the store's log has: $(tr '\n' ';' <changes)"
}
members_5_to_3() { scale 3; }

change_spec() { kubectl patch quoratecluster $CLUSTER --namespace $STORE --type merge --patch "{\"spec\": $1}" >>kubectl.log; }

# A setting, and larger volumes. The store may then use more of them.
settings() {
  change_spec '{"settings": {"flags": {"max-request-bytes": "2097152"}}, "storage": {"size": "3Gi"}}'
  settle 3
  all_pods_have '--max-request-bytes' || fail "a member has not the new setting"
  volumes_have 3Gi || fail "a volume has not grown"
}

# The operator keeps objects as the spec asks for them: a Service that a person has changed, the NetworkPolicy, a
# client's Secret.
objects() {
  in_store patch service $CLUSTER-peer --patch '{"spec": {"publishNotReadyAddresses": false}}' >>kubectl.log
  within 60 "the peers' Service as it was" addresses_are_published
  change_spec '{"networkPolicy": {"clients": [{"app": "apiserver"}]}}'
  within 60 "a NetworkPolicy for one kind of client" policy_names apiserver
  change_spec '{"networkPolicy": {"enabled": false}, "clients": [{"name": "apiserver"}, {"name": "verifier"}]}'
  within 60 "no NetworkPolicy, and no Secret of the client that is not wanted any more" unwanted_objects_are_gone
  settle 3
}

upgrade() {
  change_spec "{\"version\": \"$OTHER_VERSION\"}"
  settle 3
  [ "$(of_status version)" = "$OTHER_VERSION" ] || fail "the status says version $(of_status version)"
}

# Every member serves a certificate that was issued while it ran. The job has lasted for several lives of the first
# certificates.
renewal() {
  local member
  for member in $(members); do within $((LIFETIME + 30)) "a renewed certificate of $member" leaf_is_renewed "$member"; done
  tenant_ready || fail "the second API server lost the store"
}

verify() {
  ask 10 stop
  ask 120 wait
  if [ -n "${PLANT-}" ]; then plant_fault "$PLANT"; fi
  fetch_credentials
  ask 60 verify
  cp answer verified
  ask 60 "probe?name=after"
  ask 10 report
  cat answer >>verified
}

# Nothing changes: for so long the operator writes nothing but its Lease.
idle() {
  local from
  end killer TERM 5
  change_spec '{"tls": {"lifetime": "2160h"}}'
  within 180 "certificates for 2160h (next expiry $(of_status certificates.nextExpiry))" certificates_are_long
  settle 3
  within 60 "both operators ready" operators_ready
  from=$(date -u +%FT%T.%6NZ)
  sleep "$IDLE" # the time in which nothing may happen
  audit idle "$from" "$(date -u +%FT%T.%6NZ)"
}

uninstall() {
  local volumes
  volumes=$(kubectl get pvc --namespace $STORE --output name)
  end workload TERM 5
  kubectl delete pod/apiserver service/apiserver --namespace $STORE >>kubectl.log
  helm install short "$root/charts/quorate-cluster" --namespace $STORE --values "$here/manifests/cluster-values.yaml" \
    --set storage.onDelete=Delete >>helm.log 2>&1
  CLUSTER=short settle 1
  helm uninstall short --namespace $STORE >>helm.log 2>&1
  helm uninstall $CLUSTER --namespace $STORE >>helm.log 2>&1
  within 90 "everything of the clusters gone but the volumes to be kept" only_volumes_left "$volumes"
  helm get manifest quorate-operator --namespace $OPERATORS >operator-manifest.yaml
  kubectl get -f operator-manifest.yaml --output json | jq "$OWN_ROLES" >roles.json
  cp audit.log audit-while-installed.log
  helm uninstall quorate-operator --namespace $OPERATORS --wait >>helm.log 2>&1
  kubectl get crd/quorateclusters.quorate.dev crd/quoratemembers.quorate.dev >>kubectl.log ||
    fail "the definitions went with the operator's chart"
  AUDIT_LOG=audit-while-installed.log audit used roles.json
}

printf '%-16s %8s %12s %13s\n' step seconds 'write (ms)' 'machine (ms)' >timeline
run_step install
run_step helm_tests
run_step tenant_and_load
start killer kill_operators
for name in $STEPS; do run_step "$name"; done
run_step verify
run_step idle
run_step uninstall
{
  cat timeline verified
  echo "seed $SEED; operators killed: $(wc -l <killed 2>/dev/null || echo 0)"
} | tee summary
