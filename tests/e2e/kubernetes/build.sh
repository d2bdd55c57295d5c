#!/usr/bin/env bash
# build.sh [helm|control-plane|nodes]: everything these scripts run, into the tests' cache (see
# ../../support/peers/cache.sh).
#
#   helm            helm 4
#   control-plane   also etcd and its tools, Kubernetes 1.37 as one multi-call binary (kube-apiserver,
#                   kube-controller-manager, kube-scheduler, kube-proxy, kubelet, kubectl), the workload
#   nodes           (default) also cluster DNS, two images, and Debian's containerd, runc and CNI plugins, unpacked
#
# Guarantees that all of it is there and made from these sources; does nothing when it is. A quarter of an hour on two
# cores from nothing, eight minutes of it Kubernetes. `nodes` installs Debian's iptables and nftables when the machine lacks them
# (kube-proxy and the portmap plugin run them), which takes root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../../support/peers/cache.sh
. "$here/../../support/peers/cache.sh"
KUBERNETES=1.37.2

kube_ldflags() {
  local version=k8s.io/component-base/version minor
  minor=${KUBERNETES#*.}
  printf -- '-X %s ' "$version.gitVersion=v$KUBERNETES" "$version.gitMajor=${KUBERNETES%%.*}" \
    "$version.gitMinor=${minor%%.*}" "$version.gitTreeState=archive"
}

link_components() {
  local name
  for name in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
    ln -sfn kube "$BIN/$name"
  done
}

make_images() {
  cd "$BIN"
  gcc -Os -static -s -o pause "$here/pause/pause.c"
  mkdir -p "$CACHE/images"
  local name
  for name in pause testpod; do
    python3 "$here/mkimage.py" "$CACHE/images/.$name.new" "localhost/$name:1" "/$name" "$name=/$name"
    mv "$CACHE/images/.$name.new" "$CACHE/images/$name.tar"
  done
}

unpack_debian_packages() {
  rm -rf "$CACHE/.deb.new"
  mkdir -p "$CACHE/.deb.new"
  apt-get update -qq
  local file
  # apt's own unprivileged user could not write into this folder.
  (cd "$CACHE/.deb.new" && apt-get -o APT::Sandbox::User=root download -qq "${DEBIAN[@]}")
  for file in "$CACHE/.deb.new"/*.deb; do
    dpkg -x "$file" "$CACHE/.deb.new"
    rm "$file"
  done
  rm -rf "$CACHE/deb"
  mv "$CACHE/.deb.new" "$CACHE/deb"
}

install_packet_filters() {
  command -v iptables >/dev/null && command -v nft >/dev/null && return
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends iptables nftables >/dev/null
}

what=${1:-nodes}
case $what in helm | control-plane | nodes) ;; *) echo "usage: build.sh [helm|control-plane|nodes]" >&2; exit 2 ;; esac

go_binary helm "$here/helm" .
[ "$what" != helm ] || exit 0
"$here/../../support/peers/build.sh"
go_binary kube "$here" ./kube "$(kube_ldflags)"
link_components
go_binary workload "$here" ./workload
if [ "$what" = nodes ]; then
  export PATH="$PATH:/usr/sbin:/sbin"
  go_binary dns "$here/dns" .
  go_binary testpod "$here" ./testpod
  once images "$(cd "$here" && digest mkimage.py pause/pause.c) $(cd "$BIN" && digest testpod)" make_images \
    "$CACHE/images/pause.tar" "$CACHE/images/testpod.tar"
  DEBIAN=(containerd runc containernetworking-plugins)
  once deb "${DEBIAN[*]} $(. /etc/os-release && echo "$VERSION_CODENAME")" unpack_debian_packages \
    "$CACHE/deb/usr/bin/containerd" "$CACHE/deb/usr/sbin/runc" "$CACHE/deb/usr/lib/cni/bridge"
  install_packet_filters
fi
