"""Checks the Python client aetcd, which has no limit for lists, no revision for reads and no TLS."""

import asyncio

import aetcd
from common import BUSY_FOR, MEMBERS, REQUEST_WITHIN, address, event_text, key, leave, listed, pause, say


def full(name):
    return key(name).encode()


async def failure(call):
    """The error of a call that must fail."""
    try:
        await call
    except aetcd.exceptions.ClientError as error:
        return f"{type(error).__name__} {error}"
    raise AssertionError("it does not fail")


def pairs(answer):
    return [(pair.key, pair.value) for pair in answer]


async def put(client):
    await client.put(full("put"), b"1")
    before = (await client.put(full("put"), b"2", prev_kv=True)).prev_kv
    pair = await client.get(full("put"))
    later = pair.mod_revision > pair.create_revision
    return f"{pair.value.decode()} after {before.value.decode()}, version {pair.version}, changed later: {later}"


async def ranges(client):
    for name, value in {"range/a": b"3", "range/b": b"1", "range/c": b"2"}.items():
        await client.put(full(name), value)
    prefix = full("range/")
    answers = [
        await client.get_prefix(prefix),
        await client.get_prefix(prefix, sort_order="descend", sort_target="value"),
        await client.get_prefix(prefix, keys_only=True),
        await client.get_range(prefix, full("range/c")),
    ]
    return "; ".join(f"{listed(pairs(answer))} of {answer.count}, more: {answer.more}" for answer in answers)


async def delete(client):
    for name in "abc":
        await client.put(full(f"delete/{name}"), name.encode())
    one = await client.delete(full("delete/a"), prev_kv=True)
    rest = await client.delete_prefix(full("delete/"), prev_kv=True)
    none = await client.delete(full("delete/"))
    return f"{one.deleted} with {one.prev_kv.value.decode()}, {rest.deleted} with {listed(pairs(rest))}, {none}"


async def txn(client):
    ops, name = client.transactions, full("txn")
    outcomes = []
    for value in [b"first", b"second"]:
        is_new, parts = await client.transaction(
            compare=[ops.version(name) == 0],
            success=[ops.put(name, value), ops.get(name)],
            failure=[ops.get(name), ops.delete(name, prev_kv=True)],
        )
        reads = [part for part in parts if isinstance(part, list)]
        outcomes.append(f"{is_new} {len(parts)} {reads[0][0][0].decode()}")
    return "; ".join(outcomes)


async def lease(client):
    granted = await client.lease(60)
    await client.put(full("leased"), b"1", lease=granted)
    renewed = (await granted.refresh()).TTL
    total, keys = await granted.granted_ttl(), await granted.keys()
    await granted.revoke()
    left = await client.get(full("leased"))
    again, late = await failure(granted.revoke()), (await granted.refresh()).TTL
    return f"{granted.ttl}, renewed {renewed}, granted {total} with {len(keys)}, then {left}; {again}; {late}"


async def taken(watch, count):
    """This many events of a watch."""
    texts = []
    async for event in watch:
        before = event.prev_kv and event.prev_kv.value
        texts.append(event_text(event.kind, event.kv.key, event.kv.value, before))
        if len(texts) == count:
            await watch.cancel()
            return ", ".join(texts)


async def expiry(client):
    granted = await client.lease(1)
    from_revision = (await client.put(full("expires"), b"1", lease=granted)).header.revision
    seen = await taken(await client.watch(full("expires"), start_revision=from_revision), 2)
    return f"{granted.ttl}, {seen}, then {await granted.remaining_ttl()}"


async def watch(client):
    events = await client.watch_prefix(full("watch/"), prev_kv=True)
    await client.put(full("watch/a"), b"1")
    await client.put(full("watch/a"), b"2")
    await client.delete_prefix(full("watch/"))
    return await taken(events, 3)


async def history(client):
    from_revision = (await client.put(full("history"), b"1")).header.revision
    await client.put(full("history"), b"2")
    await client.delete(full("history"))
    return await taken(await client.watch(full("history"), start_revision=from_revision), 3)


async def lock(client):
    held, waiting = client.lock(full("lock")), client.lock(full("lock"))
    assert await held.acquire()
    busy = await waiting.acquire(timeout=BUSY_FOR)
    later = asyncio.ensure_future(waiting.acquire(timeout=REQUEST_WITHIN))
    released = await held.release()
    return f"{busy}, then {released}, {await later}, {await waiting.release()}"


async def compaction(client):
    from_revision = (await client.put(full("compacted"), b"1")).header.revision
    at = (await client.put(full("compacted"), b"2")).header.revision
    await client.compact(at)
    again = await failure(client.compact(at))
    try:
        await taken(await client.watch(full("compacted"), start_revision=from_revision), 1)
    except aetcd.exceptions.RevisionCompactedError as error:
        return f"{again}; compacted where it was: {error.compacted_revision == at}"
    raise AssertionError("it has an event")


def connect(**options):
    return aetcd.Client(timeout=REQUEST_WITHIN, **address(MEMBERS), **options)


async def login():
    async with connect(username="worker", password="work") as client:
        events = await client.watch(full("login"))
        granted = await client.lease(60)
        await client.put(full("login"), b"1", lease=granted)
        seen = await taken(events, 1)
        await granted.revoke()
        return f"{seen}, then {await client.get(full('login'))}"


async def denied():
    async with connect(username="worker", password="work") as client, connect() as stranger:
        foreign = await failure(client.put(b"elsewhere", b"1"))
        return f"{foreign}; {await failure(stranger.get(full('login')))}"


async def main():
    async with connect() as client:
        say("put", await put(client))
        say("range", await ranges(client))
        say("delete", await delete(client))
        say("txn", await txn(client))
        say("lease", await lease(client))
        say("expiry", await expiry(client))
        say("watch", await watch(client))
        say("history", await history(client))
        say("lock", await lock(client))
        pause("compaction")
        say("compaction", await compaction(client))
    pause("authentication")
    say("login", await login())
    say("wrong password", await failure(connect(username="worker", password="wrong").connect()))
    say("denied", await denied())
    leave()


asyncio.run(main())
