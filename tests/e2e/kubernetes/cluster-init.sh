#!/usr/bin/env bash
# cluster-init.sh DIR: the first process of a cluster's namespaces (see cluster.sh, which starts it). The control plane,
# DNS and the commands of `cluster.sh exec` live here, at 10.88.0.1; every node is a further network, mount and UTS
# namespace (node-init.sh) on the bridge br0, its pods at 10.244.I.0/24. Touches DIR/ready when all nodes are Ready.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
D=$1 N=${N:-1} IP=10.88.0.1
# shellcheck source=process.sh
. "$here/process.sh"
BIN=$QUORATE_TEST_CACHE/bin
export PATH="$BIN:$PATH:/usr/sbin:/sbin"
NODES=$(seq -s ' ' -f node%.0f 1 "$N")
export NODES

mount --make-rshared /
mount -t tmpfs tmpfs /run
# The kubelet sets these kernel settings for the whole machine: it is shown the values it wants, and nothing changes.
mkdir -p "$D/tunables"
tunable() {
  local file
  file=$D/tunables/$(basename "$1")
  echo "$2" >"$file"
  mount --bind "$file" "/proc/sys/$1"
}
tunable vm/overcommit_memory 1
tunable vm/panic_on_oom 0
tunable kernel/panic 10
tunable kernel/panic_on_oops 1
hostname control
ip link set lo up
ip link add br0 type bridge
ip address add $IP/24 dev br0
ip link set br0 up
echo 1 >/proc/sys/net/ipv4/ip_forward

# Folders that the kubelet, the CNI plugins and containerd want wherever their own data lies; each node mounts its own over
# them. The machine need not have them, and does not get them.
for parent in /var/lib /opt; do
  layer=/run/layers$parent
  mkdir -p "$layer/upper" "$layer/work"
  mount -t overlay -o "lowerdir=$parent,upperdir=$layer/upper,workdir=$layer/work" overlay "$parent"
done
mkdir -p /var/lib/kubelet /var/lib/cni /opt/containerd

# shellcheck disable=SC2086
"$here/pki.sh" "$D/pki" https://$IP:6443 $NODES
for i in $(seq 1 "$N"); do "$here/node.sh" start "$D" "$i"; done
# Services are reached through the first node, and looked up as in a pod.
ip route add 10.96.0.0/16 via 10.88.0.11
printf 'nameserver %s\nsearch svc.cluster.local cluster.local\noptions ndots:5\n' $IP >"$D/resolv.conf"
mount --bind "$D/resolv.conf" /etc/resolv.conf

STORE_PORT=2379 BIND=$IP PORT=6443 RECONCILER=lease "$here/control-plane.sh" up "$D"
export KUBECONFIG=$D/pki/admin.kubeconfig KUBECACHEDIR=$D/kubectl-cache
touch "$D/api-ready" # the nodes wait for it
cat >"$D/Corefile" <<C
.:53 {
  bind $IP
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $KUBECONFIG
    ttl 1
  }
  template ANY ANY . {
    rcode NXDOMAIN
  }
}
C
start dns "$BIN/dns" -conf "$D/Corefile"
for node in $NODES; do
  kubectl wait --for=create "node/$node" --timeout=90s
  kubectl wait --for=condition=Ready "node/$node" --timeout=120s
done
touch "$D/ready"
# As the namespaces' first process it reaps the processes that others leave behind, until it is killed.
while :; do wait -n 2>/dev/null || sleep 1; done
