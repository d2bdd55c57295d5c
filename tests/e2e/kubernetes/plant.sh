# shellcheck shell=bash disable=SC2154
# plant.sh is sourced by the jobs: faults of a store that the verifier must find. store_etcdctl asks the store.

# plant_fault KIND: plants a fault that the verifier must find.
plant_fault() {
  local key name version lease
  say "planting a fault: $1"
  case $1 in
  delete)
    name=$(journal_object 1)
    store_etcdctl del "/registry/configmaps/$NS/$name" >>kubectl.log
    ;;
  overwrite)
    name=$(journal_object 2)
    version=$(journal_version "$name" 1)
    key=/registry/configmaps/$NS/$name
    # etcdctl ends its output with a newline.
    store_etcdctl get "$key" --rev "$version" --print-value-only | head -c -1 >older-value
    store_etcdctl put "$key" <older-value >>kubectl.log
    ;;
  lease)
    # The objects of the lease go with it, as if the lease had expired.
    lease=$(store_etcdctl get "/registry/events/$NS/event-0000" -w fields | sed -n 's/^"Lease" : //p')
    store_etcdctl lease revoke "$(printf %x "$lease")" >>kubectl.log
    ;;
  rollback)
    "$here/store.sh" kill "$D" >>kubectl.log
    rm -rf store
    cp -a store.older store
    "$here/store.sh" start "$D"
    ;;
  *) fail "PLANT=$1 is unknown" ;;
  esac
}

# journal_object STATE: a ConfigMap whose last acknowledged state is that one.
journal_object() {
  jq -rs --argjson state "$1" '[.[] | select(.op == "ack" and .resource == "configmaps" and (.name | startswith("cm-")))]
    | group_by(.name) | map(max_by(.state)) | map(select(.state == $state)) | .[length / 2 | floor].name' journal
}

# journal_version NAME STATE: the resourceVersion with which that state was acknowledged.
journal_version() {
  jq -r --arg name "$1" --argjson state "$2" \
    'select(.op == "ack" and .resource == "configmaps" and .name == $name and .state == $state).version' journal
}
