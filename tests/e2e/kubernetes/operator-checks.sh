# shellcheck shell=bash disable=SC2034,SC2154
# operator-checks.sh is sourced by operator-job.sh: the frame of its steps, and its questions to the cluster.
OPERATOR=system:serviceaccount:$OPERATORS:quorate-operator
# Selects from a list of objects the operator's own roles, and not the parts of the roles of users.
OWN_ROLES='{items: [.items[] | select(.kind == "Role" or .kind == "ClusterRole")
  | select(.metadata.labels | keys | any(startswith("rbac.authorization.k8s.io/aggregate")) | not)]}'

# run_step NAME: runs the step, and prints its time, the time of the longest write in it, and the longest pause of the
# machine.
run_step() {
  local begun took write=0 machine=0
  say "$1"
  begun=$(milliseconds)
  "$1"
  took=$(($(milliseconds) - begun))
  if running workload; then
    ask 5 pauses
    read -r write machine <answer
  fi
  printf '%-16s %8s %12d %13d\n' "$1" "$(seconds $took)" "$write" "$machine" | tee -a timeline
  [ $((write - machine)) -le "$STALL_MS" ] ||
    fail "stall: in step $1 a write took $write ms, and the machine paused for no more than $machine ms"
}

in_store() { kubectl --namespace $STORE "$@" 2>>kubectl.log; }
of_cluster() { in_store get quoratecluster $CLUSTER --output jsonpath="$1"; }
of_status() { of_cluster "{.status.$1}"; }

# settle NUMBER: waits until the cluster has so many members, all are ready, and nothing is under way.
settle() {
  within 240 "$1 members that are ready, and nothing under way" settled "$1"
  within 10 "$1 voters and no learner in the store (member-list)" voters_are "$1"
}
settled() {
  local generation observed phase ready change
  read -r generation observed phase ready change < <(
    of_cluster '{.metadata.generation} {.status.observedGeneration} {.status.phase} {.status.ready} {.status.change.kind}'
    echo
  )
  [ "$generation" = "$observed" ] && [ "$phase $ready $change" = "Ready $1/$1 " ]
}
changing() { [ -n "$(of_status change.kind)" ]; }
voters_are() {
  store_etcdctl member list --write-out json >member-list 2>>kubectl.log &&
    jq --exit-status --argjson n "$1" '[.members[] | .isLearner // false] | length == $n and (any | not)' member-list >>kubectl.log
}

members() { in_store get pod --selector quorate.dev/cluster=$CLUSTER --sort-by .metadata.creationTimestamp --output name | cut -d/ -f2; }
node_of() { in_store get pod "$1" --output jsonpath='{.spec.nodeName}'; }
restarts_of() { in_store get pod "$1" --output jsonpath='{.metadata.uid} {.status.containerStatuses[0].restartCount}'; }
all_pods_have() { # FLAG
  in_store get pod --selector quorate.dev/cluster=$CLUSTER --output json |
    jq --exit-status --arg flag "$1" 'all(.items[]; .spec.containers[0].args | any(startswith($flag)))' >>kubectl.log
}
volumes_have() { # SIZE
  local member
  for member in $(members); do
    [ "$(in_store get pvc "data-$member" --output jsonpath='{.status.capacity.storage}')" = "$1" ] || return 1
  done
}
is_kept() { [ -n "$(in_store get pvc "data-$1" --output jsonpath='{.metadata.annotations.quorate\.dev/kept}')" ]; }

addresses_are_published() {
  [ "$(in_store get service $CLUSTER-peer --output jsonpath='{.spec.publishNotReadyAddresses}')" = true ]
}
policy_names() { in_store get networkpolicy --output json | grep -q "\"app\": \"$1\""; }
unwanted_objects_are_gone() {
  [ -z "$(in_store get networkpolicy --output name)" ] && ! in_store get secret $CLUSTER-client-spare >>kubectl.log
}

# fetch_credentials: writes the files of the verifier's Secret, under the names that the workload reads.
fetch_credentials() {
  local key
  mkdir -p store-pki
  in_store get secret $CLUSTER-client-verifier --output json >store-pki/secret
  for key in ca.crt=store-ca.crt tls.crt=store-client.crt tls.key=store-client.key; do
    jq --raw-output --arg key "${key%=*}" '.data[$key]' store-pki/secret | base64 --decode >"store-pki/.new"
    mv store-pki/.new "store-pki/${key#*=}"
  done
}
endpoint() { echo "https://$CLUSTER-client.$STORE.svc:2379"; }
store_etcdctl() {
  fetch_credentials
  etcdctl --endpoints "$(endpoint)" --cacert store-pki/store-ca.crt --cert store-pki/store-client.crt \
    --key store-pki/store-client.key "$@"
}

# served_leaf_expiry MEMBER: when the certificate expires that it shows to clients, in seconds since 1970.
served_leaf_expiry() {
  local address expiry
  address=$(in_store get pod "$1" --output jsonpath='{.status.podIP}')
  expiry=$(openssl s_client -connect "$address:2379" -cert store-pki/store-client.crt -key store-pki/store-client.key \
    </dev/null 2>/dev/null | openssl x509 -noout -enddate 2>>kubectl.log)
  date --date "${expiry#notAfter=}" +%s
}
# leaf_is_renewed MEMBER: the leaf that it serves was issued after its process had started.
leaf_is_renewed() {
  local started expiry
  fetch_credentials
  started=$(in_store get pod "$1" --output jsonpath='{.status.containerStatuses[0].state.running.startedAt}') &&
    [ -n "$started" ] && expiry=$(served_leaf_expiry "$1") &&
    [ $((expiry - LIFETIME)) -gt "$(date --date "$started" +%s)" ]
}
certificates_are_long() {
  local expiry
  expiry=$(of_status certificates.nextExpiry)
  [ -n "$expiry" ] && [ "$(date -d "$expiry" +%s)" -gt $(($(date +%s) + 86400)) ]
}

operators_ready() {
  [ "$(kubectl get deployment quorate-operator --namespace $OPERATORS --output jsonpath='{.status.readyReplicas}')" = 2 ]
}
leading_operator() {
  kubectl get lease quorate-operator --namespace $OPERATORS --output jsonpath='{.spec.holderIdentity}' 2>>kubectl.log
}

# membership_changes MEMBER: how the store's membership changed, as that member's log has it: "added ID" and so on.
membership_changes() {
  in_store logs "$1" --tail=-1 | jq --raw-output --raw-input \
    'fromjson? | select(.msg | startswith("a member was ")) | "\(.msg | split(" ") | last) \(.member)"'
}

audit() { # used|idle ARGUMENT...
  local what=$1
  shift
  "$AUDIT_PROGRAM" "$what" "${AUDIT_LOG:-audit.log}" "$OPERATOR" "$@" >audit.out 2>&1 || fail "audit: $(tr '\n' ';' <audit.out)"
}

only_volumes_left() { # VOLUMES
  [ -z "$(in_store get quoratecluster,quoratemember,pod,service,secret,pdb,networkpolicy --output name)" ] &&
    [ "$(in_store get pvc --output name)" = "$1" ]
}
