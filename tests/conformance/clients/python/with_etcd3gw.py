"""Checks the Python client etcd3gw, which uses the JSON gateway.

It has no login of its own, so the program gives it the token that it asks the gateway for. It does not report the end
of a watch, and its locks do not wait.
"""

import base64
import itertools
import json

import etcd3gw
from common import (MEMBERS, REFUSED_WITHIN, REQUEST_WITHIN, SECURE, address, certificate, event_text, key, leave,
                    listed, pause, say)

TRUST = {"protocol": "https", "ca_cert": certificate("ca.crt")}
IDENTITY = {"cert_cert": certificate("client.crt"), "cert_key": certificate("client.key")}


def connect(members, password=None, timeout=REQUEST_WITHIN, **options):
    """A client that has logged in, if there is a password."""
    made = etcd3gw.client(timeout=timeout, **address(members), **options)
    # No settings of the environment, which could replace the trusted authority.
    made.session.trust_env = False
    if password:
        credentials = {"name": "worker", "password": password}
        token = made.post(made.get_url("/auth/authenticate"), json=credentials)["token"]
        made.session.headers["Authorization"] = token
    return made


client = connect(MEMBERS)


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def failure(function, *arguments, **options):
    """The error of a call that must fail."""
    try:
        function(*arguments, **options)
    except etcd3gw.exceptions.Etcd3Exception as error:
        # Quorate also has the fields of older gateways.
        said = json.loads(error.detail_text)
        return f"{type(error).__name__} {error} {said['code']} {said['message']}"
    raise AssertionError("it does not fail")


def pairs(answer):
    return [(about["key"], value) for value, about in answer]


def revision():
    return int(client.status()["header"]["revision"])


def put():
    client.put(key("put"), "1")
    client.put(key("put"), b"\x00\xff2")
    [(value, about)] = client.get(key("put"), metadata=True)
    is_first = client.create(key("put"), "3"), client.create(key("created"), "3")
    is_replaced = client.replace(key("created"), "4", "5"), client.replace(key("created"), "3", "4")
    return f"{value}, version {about['version']}, created {is_first}, replaced {is_replaced}"


def ranges():
    for name, value in {"range/a": "3", "range/b": "1", "range/c": "2"}.items():
        client.put(key(name), value)
    prefix = key("range/")
    limited = client.get(prefix, metadata=True, range_end=key("range0"), limit=2)
    return "; ".join([
        listed(pairs(client.get_prefix(prefix))),
        listed(pairs(client.get_prefix(prefix, sort_order="descend", sort_target="value"))),
        listed(pairs(limited)),
        str(client.get(key("none"))),
    ])


def delete():
    for name in "abc":
        client.put(key(f"delete/{name}"), name)
    return f"{client.delete(key('delete/a'))} {client.delete_prefix(key('delete/'))} {client.delete(key('delete/b'))}"


def txn():
    name = encoded(key("txn"))
    outcomes = []
    for value in ["first", "second"]:
        answer = client.transaction({
            "compare": [{"key": name, "target": "VERSION", "version": 0}],
            "success": [{"request_put": {"key": name, "value": encoded(value)}}],
            "failure": [{"request_range": {"key": name}}],
        })
        parts = [sorted(part) for part in answer["responses"]]
        outcomes.append(f"{answer.get('succeeded')} {parts}")
    return "; ".join(outcomes)


def lease():
    granted = client.lease(60)
    client.put(key("leased"), "1", lease=granted)
    renewed, keys = granted.refresh(), granted.keys()
    is_alive = 0 < granted.ttl() <= 60
    granted.revoke()
    again, late = failure(granted.revoke), granted.refresh()
    return f"{is_alive}, renewed {renewed}, {len(keys)} key, then {client.get(key('leased'))}; {again}; {late}"


def taken(watch, count):
    """This many events of a watch."""
    events, cancel = watch
    texts = []
    for event in itertools.islice(events, count):
        pair, before = event["kv"], event.get("prev_kv")
        before = base64.b64decode(before["value"]) if before else None
        texts.append(event_text(event.get("type", "PUT"), pair["key"], pair.get("value", b""), before))
    cancel()
    return ", ".join(texts)


def expiry():
    from_revision, granted = revision() + 1, client.lease(1)
    client.put(key("expires"), "1", lease=granted)
    seen = taken(client.watch(key("expires"), start_revision=from_revision), 2)
    return f"{seen}, then {granted.ttl()}"


def watch():
    events = client.watch_prefix(key("watch/"), prev_kv=True)
    client.put(key("watch/a"), "1")
    client.put(key("watch/a"), "2")
    client.delete_prefix(key("watch/"))
    return taken(events, 3)


def history():
    from_revision = revision() + 1
    client.put(key("history"), "1")
    client.put(key("history"), "2")
    client.delete(key("history"))
    return taken(client.watch(key("history"), start_revision=from_revision), 3)


def lock():
    held, waiting = client.lock(key("lock"), ttl=60), client.lock(key("lock"), ttl=60)
    first = held.acquire(), held.is_acquired(), waiting.acquire()
    second = held.release(), waiting.acquire(), waiting.release()
    return f"{first}, then {second}"


def compaction():
    client.put(key("compacted"), "1")
    old = revision()
    client.put(key("compacted"), "2")
    at, url = revision(), client.get_url("/kv/compaction")
    client.post(url, json={"revision": at})
    again = failure(client.post, url, json={"revision": at})
    return f"{again}; {failure(client.get, key('compacted'), revision=old)}"


def login():
    worker = connect(MEMBERS, "work")
    events = worker.watch(key("login"))
    granted = worker.lease(60)
    worker.put(key("login"), "1", lease=granted)
    seen = taken(events, 1)
    granted.revoke()
    return f"{seen}, then {worker.get(key('login'))}"


def denied():
    foreign = failure(connect(MEMBERS, "work").put, "elsewhere", "1")
    return f"{foreign}; {failure(client.get, key('login'))}"


def over_tls():
    """On the gateway, a certificate that names a user is refused."""
    try:
        connect(SECURE, "work", **TRUST, **IDENTITY)
    except etcd3gw.exceptions.Etcd3Exception as error:
        return f"{error} {error.detail_text.strip()}"
    raise AssertionError("it is not refused")


def without_certificate():
    try:
        connect(SECURE, timeout=REFUSED_WITHIN, api_path="/v3/", **TRUST).get(key("login"))
    except etcd3gw.exceptions.ConnectionFailedError:
        return "refused: True"
    return "refused: False"


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
say("login", login())
say("wrong password", failure(connect, MEMBERS, "wrong"))
say("denied", denied())
say("TLS", over_tls())
say("no certificate", without_certificate())
leave()
