#!/usr/bin/env bash
# volumes.sh DIR COUNT NODE...: prints the storage class "local" and COUNT PersistentVolumes on each node, in folders
# under DIR that it makes. A volume is bound when a pod first uses it.
set -euo pipefail
dir=$(realpath -m "$1") count=$2
shift 2
cat <<Y
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
Y
for node in "$@"; do
  for i in $(seq 1 "$count"); do
    mkdir -p "$dir/$node-$i"
    cat <<Y
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: $node-$i}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: local
  persistentVolumeReclaimPolicy: Retain
  local: {path: $dir/$node-$i}
  nodeAffinity:
    required:
      nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$node]}]}]
Y
  done
done
