"""Runs Patroni's own code for etcd against the gateway at a host and a port: all that it asks."""

import os
import sys

from patroni.dcs import get_dcs
from patroni.dcs.etcd3 import LeaseNotFound

host, port = sys.argv[1:]
settings = {
    "scope": "demo",
    "name": "one",
    "namespace": "/service/",
    "ttl": 30,
    "loop_wait": 1,
    "retry_timeout": 10,
    "etcd3": {"host": f"{host}:{port}"},
}
dcs = get_dcs(settings)

# A new cluster: one member initializes it, registers, and becomes the leader.
assert dcs.get_cluster().is_unlocked()
assert dcs.initialize(create_new=True, sysid="123")
assert not dcs.initialize(create_new=True, sysid="456")
member = {"conn_url": "postgres://one", "api_url": "http://one", "state": "running", "role": "primary"}
assert dcs.touch_member(member)
assert dcs.attempt_to_acquire_leader()
assert dcs.set_config_value('{"ttl": 30}')
assert dcs.set_failover_value('{"leader": "one"}')
assert dcs.set_history_value("[]")
state = dcs.set_sync_state_value('{"leader": "one"}')
assert state and not dcs.set_sync_state_value("{}", version="1")

cluster = dcs.get_cluster()
assert cluster.leader.name == "one" and cluster.initialize == "123", cluster
assert [member.name for member in cluster.members] == ["one"], cluster
assert cluster.config.data == {"ttl": 30} and cluster.sync.leader == "one", cluster

# The leader renews its lease and writes its position.
assert dcs.update_leader(cluster, 42)
assert dcs.get_cluster().status.last_lsn == 42
# A change ends the wait of another member, whose view comes from the watch stream.
assert dcs.watch(None, 0.1) in (True, False)
dcs.set_ttl(20)
assert dcs.refresh_lease() in (True, False)

# Errors are recognized by their texts.
client = dcs._client
try:
    client.call_rpc("/kv/put", {"key": "YQ==", "value": "", "lease": "12345"})
    raise SystemExit("a put with an unknown lease succeeded")
except LeaseNotFound:
    pass

# The end: the leader leaves, and the cluster is deleted.
assert dcs.delete_leader(cluster.leader)
assert dcs.get_cluster().is_unlocked()
assert dcs.delete_sync_state() and dcs.cancel_initialization()
assert dcs.delete_cluster()
print("done")
sys.stdout.flush()
# Threads of Patroni do not end by themselves.
os._exit(0)
