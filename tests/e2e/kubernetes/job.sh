#!/usr/bin/env bash
# job.sh control-plane|nodes DIR: the steps of the main job, on a cluster that runs. main-job.sh calls it where the
# cluster can be reached, with SEED and the other settings described there. Guarantees that it succeeds only when
# every step did, that it waits for conditions only, each with a deadline, and that DIR/failure says what failed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mode=$1 D=$2
# shellcheck source=process.sh
. "$here/process.sh"
# shellcheck source=steps.sh
. "$here/steps.sh"
# shellcheck source=checks.sh
. "$here/checks.sh"
# shellcheck source=plant.sh
. "$here/plant.sh"
export PATH=$QUORATE_TEST_CACHE/bin:$PATH KUBECONFIG=$D/pki/admin.kubeconfig KUBECACHEDIR=$D/kubectl-cache
KILLS=${KILLS:-3} CONFIGMAPS=${CONFIGMAPS:-5000} NS=e2e
WATCHED=(configmaps events widgets deployments statefulsets pods)
RANDOM=$SEED

stop_watching() {
  local name
  for name in workload "${WATCHED[@]/#/watch-}"; do end "$name" TERM 5; done
}
at_end stop_watching

# keep_watching KIND: prints the objects of this kind that kubectl sees, and watches again whenever kubectl's watch has
# ended.
keep_watching() {
  local kubectl=
  trap 'kill "$kubectl" 2>/dev/null; exit 0' TERM
  while :; do
    echo started >>"watch-$1.starts"
    kubectl get "$1" --namespace "$NS" --watch --output name &
    kubectl=$!
    wait "$kubectl" || sleep 0.2 # the API server may be away
  done
}

set_up() {
  say "CRD, Deployment, StatefulSets, kubectl --watch, informers"
  store_demands_our_certificate || fail "the store serves a client without a certificate of its own authority"
  kubectl create namespace "$NS" >kubectl.log
  kubectl config set-context test --namespace="$NS" >>kubectl.log
  kubectl apply -f "$here/manifests/crd.yaml" >>kubectl.log
  kubectl wait --for=condition=Established crd/widgets.e2e.quorate.dev --timeout=60s >>kubectl.log
  if [ "$mode" = nodes ]; then
    # shellcheck disable=SC2046
    "$here/volumes.sh" "$D/volumes" 3 $(seq -f node%.0f "$N") | kubectl apply -f - >>kubectl.log
  fi
  # A new namespace has no ServiceAccount for a moment, and pods without one are refused.
  kubectl wait --for=create serviceaccount/default --timeout=60s >>kubectl.log
  kubectl apply -f "$here/manifests/controllers.yaml" >>kubectl.log
  controllers_follow 2 || fail "before any kill: $reason"
  local kind
  for kind in "${WATCHED[@]}"; do start "watch-$kind" keep_watching "$kind"; done
  for kind in configmaps statefulsets pods; do
    within 30 "the first lines of kubectl get $kind --watch" test -s "watch-$kind.log"
  done
  start workload workload -kubeconfig "$KUBECONFIG" -namespace "$NS" -store "$(cat store.url)" -pki "$D/pki" \
    -socket workload.sock -journal journal -run "$SEED" -configmaps "$CONFIGMAPS"
  within 60 "the first list of every informer (log in $D/workload.log)" test -S workload.sock
  ask 60 "probe?name=before"
}

# kill_and_start K: the Kth kill, at a random point in its share of 30% to 70% of the load. With several members the
# kills hit, in turn, a member that neither leads nor is asked, the leader, and the member that the API server asks.
kill_and_start() {
  local share=$((40 / KILLS)) roles=(other leader asked) role percent killed started delay served ready
  role=${roles[$((($1 - 1) % 3))]}
  percent=$((30 + (40 * ($1 - 1)) / KILLS + RANDOM % (share > 0 ? share : 1)))
  say "kill $1 of $KILLS, at $percent% of the load"
  kubectl scale deployment web --replicas=$((2 + $1)) >>kubectl.log # acknowledged, whatever comes
  ask 180 "wait?created=$((CONFIGMAPS * percent / 100))"
  killed=$("$here/store.sh" kill "$D" "$role")
  if [ "${PLANT-}" = rollback ] && [ "$1" = 1 ]; then cp -a store store.older; fi
  delay=$((RANDOM % 2001))
  sleep "$(seconds "$delay")" # not for anything: the member is away for a random time
  started=$(milliseconds)
  "$here/store.sh" start "$D" || fail "the store did not start again after kill $1 (log in $D/$killed.log)"
  served=$(milliseconds)
  within 90 "kube-apiserver's /readyz ok after kill $1 (log in $D/kube-apiserver.log)" api_ready
  ready=$(milliseconds)
  {
    printf 'kill %d at %s ConfigMaps: %s away for %s s, ' "$1" "$(cat answer)" "$killed" "$(seconds "$delay")"
    printf 'ready %s s and kube-apiserver /readyz ok %s s after its start\n' \
      "$(seconds $((served - started)))" "$(seconds $((ready - started)))"
  } | tee -a kills
}

set_up
say "load: $CONFIGMAPS ConfigMaps, Events and widgets"
ask 10 start
for k in $(seq 1 "$KILLS"); do kill_and_start "$k"; done
say "the rest of the load"
ask 300 wait
if [ -n "${PLANT-}" ]; then plant_fault "$PLANT"; fi
say "verify: journal, store, lists, informers"
ask 60 verify
cp answer verified
say "live events to every informer"
ask 60 "probe?name=after"
say "controllers"
store_demands_our_certificate ||
  fail "after its restarts the store serves a client without a certificate of its own authority"
schema_in_force || fail "the custom resource's schema is not in force after the restarts"
controllers_follow $((2 + KILLS)) || fail "the last acknowledged scale: $reason"
kubectl scale deployment web --replicas=4 >>kubectl.log
controllers_follow 4 || fail "after the restarts: $reason"
pod_comes_back || fail "a deleted pod: $reason"
for name in kube-apiserver kube-controller-manager kube-scheduler; do
  running "$name" || fail "$name has ended (log in $D/$name.log)"
done
say "verify again, after the controllers"
ask 60 verify
# No informer need have noticed anything so far: the API server's own watches resume. Now the API server reads all from
# the store, and the informers read all from the API server. The controllers are done, and may give up their leases
# meanwhile.
say "a new kube-apiserver; relists; kubectl --watch"
"$here/control-plane.sh" restart "$D" || fail "kube-apiserver did not start again (log in $D/kube-apiserver.log)"
ask 60 "probe?name=last&keep=1"
for kind in "${WATCHED[@]}"; do
  within 30 "the last object from kubectl get $kind --watch (log in $D/watch-$kind.log)" \
    grep -q '/last$' "watch-$kind.log"
done
within 30 "all ConfigMaps from kubectl get configmaps --watch (log in $D/watch-configmaps.log)" printed_all
ask 60 verify
ask 10 report
{
  echo "seed $SEED, store $(head -n 1 store.args)"
  cat verified answer kills
  echo "kubectl --watch started again: $(($(cat watch-*.starts | wc -l) - ${#WATCHED[@]}))"
} | tee summary
