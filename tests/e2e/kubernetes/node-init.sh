#!/usr/bin/env bash
# node-init.sh DIR I: node I of a cluster: containerd, kubelet and kube-proxy in the namespaces it is started in (see
# cluster-init.sh). Data and logs in DIR/nodeI. Ends when one of them ends. Images of pods are in the cache and in DIR/images;
# $NODE_AGENT is the program that makes volumes of the storage class "disk" (see ../src/bin/node-agent), if it is to run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
C=$1 I=$2 NAME=node$2 D=$1/node$2 IP=10.88.0.$((10 + $2))
# shellcheck source=process.sh
. "$here/process.sh"
BIN=$QUORATE_TEST_CACHE/bin DEB=$QUORATE_TEST_CACHE/deb
export PATH="$DEB/usr/bin:$PATH"
GROUP=$(cat "$C/cgroup")/$NAME

mkdir -p "$D/varlog" "$D/kubelet" "$D/cni"
mount --make-rshared /
mount -t tmpfs tmpfs /run
mount --bind "$D/varlog" /var/log
mount --bind "$D/kubelet" /var/lib/kubelet
mount -t tmpfs tmpfs /var/lib/cni
mount -t tmpfs tmpfs /opt/containerd
hostname "$NAME"
has_link() { ip link show eth0 >/dev/null 2>&1; }
until_true 20 has_link
ip link set lo up
ip address add $IP/24 dev eth0
ip link set eth0 up
ip route add default via 10.88.0.1
echo 1 >/proc/sys/net/ipv4/ip_forward

cat >"$D/cni/10-bridge.conflist" <<J
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$D/ipam", "ranges": [[{"subnet": "10.244.$I.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
J
# restrict_oom_score_adj: root in a virtual machine or container may lack CAP_SYS_RESOURCE, and no sandbox would start.
cat >"$D/containerd.toml" <<T
version = 2
root = "$D/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$DEB/usr/lib/cni"
    conf_dir = "$D/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "$DEB/usr/sbin/runc"
T
start containerd containerd --config "$D/containerd.toml"
answers() { ctr version >/dev/null 2>&1; }
until_true 30 answers || { say_last containerd; exit 1; }
for image in "$QUORATE_TEST_CACHE"/images/*.tar "$C"/images/*.tar; do
  [ ! -f "$image" ] || ctr -n k8s.io images import "$image"
done

# The kubelet wants its cgroup in every hierarchy, and a new cpuset has neither processors nor memory nodes.
for hierarchy in /sys/fs/cgroup/*/; do
  case $hierarchy in */unified/) ;; *) mkdir -p "$hierarchy$GROUP" ;; esac
done
for group in "$(dirname "$GROUP")" "$GROUP"; do
  for kind in cpus mems; do
    cat "/sys/fs/cgroup/cpuset/cpuset.$kind" >"/sys/fs/cgroup/cpuset/$group/cpuset.$kind"
  done
done
echo "nameserver 10.88.0.1" >"$D/resolv.conf"
cat >"$D/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$GROUP
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $C/pki/ca.crt}}
authorization: {mode: Webhook}
clusterDomain: cluster.local
clusterDNS: [10.88.0.1]
resolvConf: $D/resolv.conf
failSwapOn: false
volumePluginDir: $D/volumeplugins
syncFrequency: 5s # a changed Secret reaches a running pod in that time
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
Y
cat >"$D/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $C/pki/admin.kubeconfig}
clusterCIDR: 10.244.0.0/16
hostnameOverride: $NAME
conntrack: {maxPerCore: 0}
Y
api_is_ready() { [ -f "$C/api-ready" ]; }
until_true 180 api_is_ready
start kubelet "$BIN/kubelet" --config="$D/kubelet.yaml" --kubeconfig="$C/pki/$NAME.kubeconfig" \
  --root-dir=/var/lib/kubelet --node-ip=$IP --hostname-override="$NAME"
start kube-proxy "$BIN/kube-proxy" --config="$D/proxy.yaml"
if [ -n "${NODE_AGENT-}" ]; then
  export KUBECONFIG=$C/pki/admin.kubeconfig
  start node-agent "$NODE_AGENT" "$NAME" "$D/disks"
fi
wait -n
