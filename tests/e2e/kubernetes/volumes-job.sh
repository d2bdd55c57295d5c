#!/usr/bin/env bash
# volumes-job.sh MODE DIR: a pod's volume from node-agent is as large as its claim asks for and no larger, keeps its files,
# grows under the running pod, and leaves nothing when the claim is deleted. main-job.sh calls it in a cluster.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
D=$2
# shellcheck source=process.sh
. "$here/process.sh"
# shellcheck source=steps.sh
. "$here/steps.sh"
at_end true

size_in_status() { kubectl get pvc full --output jsonpath='{.status.capacity.storage}'; }
grown() { [ "$(size_in_status)" = 64Mi ]; }
removed() { [ -z "$(kubectl get pv --output name)" ] && [ -z "$(ls "$D/node1/disks")" ]; }
devices() { losetup --noheadings --output BACK-FILE | grep -c "^$D/" || true; }

# fill MIB AT_MOST: fills the volume, which must take at least MIB, and less than AT_MOST.
fill() {
  local bytes mib
  bytes=$(kubectl exec full -- /testpod fill /data/filling)
  mib=$((bytes / 1048576))
  [ "$mib" -ge "$1" ] && [ "$mib" -lt "$2" ] || fail "a full volume has $mib MiB, not $1 to $2"
  echo "full at $mib MiB"
}

say "a pod that waits for its volume"
kubectl apply -f "$here/manifests/disk.yaml" >kubectl.log
kubectl wait --for=create serviceaccount/default --timeout=60s >>kubectl.log
kubectl apply -f "$here/manifests/full.yaml" >>kubectl.log
kubectl wait --for=condition=Ready pod/full --timeout=60s >>kubectl.log
[ "$(devices)" = 1 ] || fail "there is no loop device of the volume"
say "the volume is full"
fill 16 32
say "it grows under the pod"
kubectl patch pvc full --patch '{"spec": {"resources": {"requests": {"storage": "64Mi"}}}}' >>kubectl.log
within 60 "64Mi in the claim's status (has $(size_in_status))" grown
fill 48 64
[ "$(kubectl exec full -- /testpod cat /data/starts)" = 1 ] || fail "the volume lost a file"
say "it is removed with its claim"
kubectl delete pod/full pvc/full >>kubectl.log
within 60 "nothing left of the volume" removed
[ "$(devices)" = 0 ] || fail "the volume left a loop device"
