"""Uses the Python client etcd3gw on the gateway at a host and a port."""

import sys
import threading

import etcd3gw

host, port = sys.argv[1:]
client = etcd3gw.client(host=host, port=int(port), api_path="/v3/")

assert "version" in client.status()
assert [member["name"] for member in client.members()]

client.put("a", "1")
assert client.get("a") == [b"1"]
assert client.get("none") == []
assert client.create("b", "2") and not client.create("b", "3")
assert client.replace("b", "2", "3") and not client.replace("b", "2", "4")
assert sorted(value for value, _ in client.get_all()) == [b"1", b"3"]
assert [key["key"] for _, key in client.get_prefix("a")] == [b"a"]
client.put("bytes", b"\x00\xff\xfe")
assert client.get("bytes") == [b"\x00\xff\xfe"]

# Locks are leases and transactions.
lease = client.lease(ttl=100)
assert 0 < lease.ttl() <= 100 and lease.refresh() == 100
client.put("leased", "x", lease=lease)
assert lease.keys() == [b"leased"]
assert lease.revoke() and client.get("leased") == []
with client.lock("name", ttl=100) as lock:
    assert lock.is_acquired()
    assert not client.lock("name", ttl=100).acquire()

# A watch sees a put of another thread.
events, cancel = client.watch("watched")
threading.Thread(target=client.put, args=("watched", "new")).start()
event = next(iter(events))
assert event["kv"]["key"] == b"watched" and event["kv"]["value"] == b"new", event
cancel()

assert client.delete("a") and not client.delete("a")
assert client.delete_prefix("b")
print("done")
