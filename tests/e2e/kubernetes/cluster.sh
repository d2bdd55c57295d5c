#!/usr/bin/env bash
# cluster.sh up|down DIR, cluster.sh exec DIR COMMAND...: a Kubernetes cluster of N (1) real nodes (kubelet, containerd,
# kube-proxy) with cluster DNS, on the store of store.sh, in namespaces of its own. Needs root and cgroup v1 hierarchies.
#
# Guarantees after `up` that every node is Ready; that nothing of it can be reached from outside or collides with
# another cluster; and that it ends with one process: `down` kills that process, which ends all of it, and then removes
# the nodes' cgroups. Nothing else is ever made outside DIR, which may not lie in /var/lib or /opt. `exec` runs a
# command inside, with KUBECONFIG and kubectl.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { echo "usage: cluster.sh up|down|exec DIR [COMMAND...]" >&2; exit 2; }
action=$1 D=$(realpath -m "$2")
shift 2
# shellcheck source=process.sh
. "$here/process.sh"
CACHE=${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}
export QUORATE_TEST_CACHE=$CACHE

first_process() { # of the namespaces; the cluster's process is unshare, its parent
  local outer child
  outer=$(pid cluster) || return 1
  child=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null || true)
  [ -n "$child" ] || return 1
  child=${child%% *}
  echo "$child $(born "$child")" >"$D/namespace.pid"
}
up_or_ended() { [ -f "$D/ready" ] || ended cluster; }

remove_cgroups() {
  local group hierarchy
  group=$(cat "$D/cgroup" 2>/dev/null) || return 0
  for hierarchy in /sys/fs/cgroup/*/; do
    [ ! -d "$hierarchy$group" ] || find "$hierarchy$group" -depth -type d -exec rmdir {} + 2>/dev/null || return 1
  done
}

case $action in
up)
  [ -d /sys/fs/cgroup/cpuset ] || { echo "cluster.sh: this machine has no cgroup v1 hierarchies" >&2; exit 1; }
  case $D/ in /var/lib/* | /opt/*) echo "cluster.sh: DIR may not lie in /var/lib or /opt" >&2; exit 1 ;; esac
  mkdir -p "$D"
  echo "quorate-e2e-$$" >"$D/cgroup"
  start cluster setsid unshare --mount --net --pid --uts --fork --kill-child=KILL --mount-proc \
    --propagation private "$here/cluster-init.sh" "$D"
  until_true 10 first_process || { say_last cluster; exit 1; }
  until_true "${UP_SECONDS:-240}" up_or_ended || true
  [ -f "$D/ready" ] && running cluster || { say_last cluster; exit 1; }
  ;;
exec)
  exec nsenter -t "$(pid namespace)" --mount --net --pid --uts --wdns="$PWD" -- \
    env KUBECONFIG="$D/pki/admin.kubeconfig" KUBECACHEDIR="$D/kubectl-cache" PATH="$CACHE/bin:$PATH" "$@"
  ;;
down)
  end namespace KILL
  end cluster KILL
  # The kernel gives back the groups of killed processes a little later.
  until_true 10 remove_cgroups || { echo "cluster.sh: cgroups of $(cat "$D/cgroup") are left" >&2; exit 1; }
  rm -f "$D/ready"
  ;;
*) echo "cluster.sh: unknown action $action" >&2; exit 2 ;;
esac
