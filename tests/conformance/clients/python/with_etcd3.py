"""Checks the Python client etcd3.

It has no limit for lists and no revision for reads. With authentication it works only over TLS: gRPC sends no token
without.
"""

import itertools
import threading

import etcd3
import grpc
from common import (BUSY_FOR, MEMBERS, REFUSED_WITHIN, REQUEST_WITHIN, SECURE, address, certificate, event_text, key,
                    leave, listed, pause, say)

client = etcd3.client(timeout=REQUEST_WITHIN, **address(MEMBERS))
TRUST = {"ca_cert": certificate("ca.crt")}
IDENTITY = {"cert_cert": certificate("client.crt"), "cert_key": certificate("client.key")}


def failure(function, *arguments, **options):
    """The error of a call that must fail."""
    try:
        function(*arguments, **options)
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"
    except etcd3.exceptions.Etcd3Exception as error:
        return type(error).__name__
    raise AssertionError("it does not fail")


def pairs(answer):
    return [(about.key, value) for value, about in answer]


def put():
    client.put(key("put"), "1")
    before = client.put(key("put"), "2", prev_kv=True).prev_kv
    value, about = client.get(key("put"))
    later = about.mod_revision > about.create_revision
    return f"{value.decode()} after {before.value.decode()}, version {about.version}, changed later: {later}"


def ranges():
    for name, value in {"range/a": "3", "range/b": "1", "range/c": "2"}.items():
        client.put(key(name), value)
    prefix = key("range/")
    return "; ".join([
        listed(pairs(client.get_prefix(prefix))),
        listed(pairs(client.get_prefix(prefix, sort_order="descend", sort_target="value"))),
        listed(pairs(client.get_prefix(prefix, keys_only=True, serializable=True))),
        listed(pairs(client.get_range(prefix, key("range/c")))),
    ])


def delete():
    for name in "abc":
        client.put(key(f"delete/{name}"), name)
    one = client.delete(key("delete/a"), prev_kv=True, return_response=True)
    rest = client.delete_prefix(key("delete/"))
    none = client.delete(key("delete/"))
    return f"{one.deleted} with {one.prev_kvs[0].value.decode()}, {rest.deleted}, {none}"


def txn():
    ops, name = client.transactions, key("txn")
    outcomes = []
    for value in ["first", "second"]:
        is_new, parts = client.transaction(
            compare=[ops.version(name) == 0],
            success=[ops.put(name, value), ops.get(name)],
            failure=[ops.get(name), ops.delete(name, prev_kv=True)],
        )
        reads = [pairs(part) for part in parts if isinstance(part, list)]
        outcomes.append(f"{is_new} {len(parts)} {listed(reads[0])}")
    return "; ".join(outcomes)


def lease():
    granted = client.lease(60)
    client.put(key("leased"), "1", lease=granted)
    renewed = granted.refresh()[0].TTL
    total, keys = granted.granted_ttl, granted.keys
    granted.revoke()
    left, _ = client.get(key("leased"))
    again, late = failure(granted.revoke), granted.refresh()[0].TTL
    return f"{granted.ttl}, renewed {renewed}, granted {total} with {len(keys)}, then {left}; {again}; {late}"


def taken(events, count):
    """This many events of a watch."""
    kinds = {etcd3.events.PutEvent: "PUT", etcd3.events.DeleteEvent: "DELETE"}
    events = itertools.islice(events, count)
    texts = [event_text(kinds[type(event)], event.key, event.value, event.prev_value) for event in events]
    return ", ".join(texts)


def expiry():
    granted = client.lease(1)
    from_revision = client.put(key("expires"), "1", lease=granted).header.revision
    events, cancel = client.watch(key("expires"), start_revision=from_revision)
    seen = taken(events, 2)
    cancel()
    return f"{granted.ttl}, {seen}, then {granted.remaining_ttl}"


def watch():
    events, cancel = client.watch_prefix(key("watch/"), prev_kv=True)
    client.put(key("watch/a"), "1")
    client.put(key("watch/a"), "2")
    client.delete_prefix(key("watch/"))
    seen = taken(events, 3)
    cancel()
    return seen


def history():
    from_revision = client.put(key("history"), "1").header.revision
    client.put(key("history"), "2")
    client.delete(key("history"))
    events, cancel = client.watch(key("history"), start_revision=from_revision)
    seen = taken(events, 3)
    cancel()
    return seen


def lock():
    held, waiting = client.lock(key("lock"), ttl=60), client.lock(key("lock"), ttl=60)
    assert held.acquire()
    busy = waiting.acquire(timeout=BUSY_FOR)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(waiting.acquire(timeout=REQUEST_WITHIN)))
    thread.start()
    released = held.release()
    thread.join()
    return f"{busy}, then {released}, {outcome[0]}, {waiting.release()}"


def compaction():
    from_revision = client.put(key("compacted"), "1").header.revision
    at = client.put(key("compacted"), "2").header.revision
    client.compact(at)
    again = failure(client.compact, at)
    events, _ = client.watch(key("compacted"), start_revision=from_revision)
    try:
        next(events)
    except etcd3.exceptions.RevisionCompactedError as error:
        return f"{again}; compacted where it was: {error.compacted_revision == at}"
    raise AssertionError("it has an event")


def secure_client(**options):
    return etcd3.client(timeout=REQUEST_WITHIN, **address(SECURE), **TRUST, **IDENTITY, **options)


def use():
    """Uses a key as the user."""
    worker = secure_client(user="worker", password="work")
    events, cancel = worker.watch(key("login"))
    granted = worker.lease(60)
    worker.put(key("login"), "1", lease=granted)
    seen = taken(events, 1)
    cancel()
    granted.revoke()
    return f"{seen}, then {worker.get(key('login'))[0]}"


def denied():
    worker = secure_client(user="worker", password="work")
    foreign = failure(worker.put, "elsewhere", "1")
    anonymous = failure(secure_client().get, key("login"))
    plain = failure(client.get, key("login"))
    return f"{foreign}; {anonymous}; {plain}"


def without_certificate():
    stranger = etcd3.client(timeout=REFUSED_WITHIN, **address(SECURE), **TRUST)
    return f"refused: {bool(failure(stranger.get, key('login')))}"


say("put", put())
say("range", ranges())
say("delete", delete())
say("txn", txn())
say("lease", lease())
say("expiry", expiry())
say("watch", watch())
say("history", history())
say("lock", lock())
pause("compaction")
say("compaction", compaction())
pause("authentication")
say("wrong password", failure(secure_client, user="worker", password="wrong"))
say("denied", denied())
say("TLS", use())
say("no certificate", without_certificate())
leave()
