// Checks the Node.js client etcd3: see ../build.sh for the arguments, the lines and the pauses.
"use strict";

const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { Etcd3, Range } = require("etcd3");

const [members, secure, certificates, prefix] = process.argv.slice(2);

// The time limits of a request, and of a connection that is to be refused, in milliseconds.
const REQUEST_WITHIN = 30_000;
const REFUSED_WITHIN = 1_000;

const key = (name) => prefix + name;
const short = (full) => full.toString().slice(prefix.length);
const listed = (kvs) => kvs.map((kv) => `${short(kv.key)}=${kv.value}`).join(" ");

/** A client of members. */
function connect(scheme, addresses, within, options) {
  const deadline = () => ({ deadline: Date.now() + within });
  return new Etcd3({
    hosts: addresses.split(",").map((address) => `${scheme}://${address}`),
    dialTimeout: within,
    // A stream has no end of its time.
    defaultCallOptions: (context) => (context.isStream ? {} : deadline()),
    ...options,
  });
}

const open = (options) => connect("http", members, REQUEST_WITHIN, options);
const worker = { auth: { username: "worker", password: "work" } };

/** The error of a call that must fail. */
async function failure(call) {
  try {
    await call;
  } catch (error) {
    return `${error.constructor.name} ${error.message}`;
  }
  throw new Error("it does not fail");
}

/** A function that waits for a number of events of a watch and ends it. */
async function watched(builder) {
  const watcher = builder.watcher();
  const texts = [];
  const before = (previous) => (previous?.value?.length ? ` was ${previous.value}` : "");
  watcher.on("put", (kv, previous) => texts.push(`PUT ${listed([kv])}${before(previous)}`));
  watcher.on("delete", (kv, previous) => texts.push(`DELETE ${listed([kv])}${before(previous)}`));
  await once(watcher, "connected");
  return async (count) => {
    while (texts.length < count) {
      await once(watcher, "data");
    }
    await watcher.cancel();
    return texts.join(", ");
  };
}

async function put(client) {
  await client.put(key("put")).value("1");
  const previous = await client.put(key("put")).value("2").getPrevious();
  const [kv] = (await client.get(key("put")).exec()).kvs;
  const later = BigInt(kv.mod_revision) > BigInt(kv.create_revision);
  return `${kv.value} after ${previous.value}, version ${kv.version}, changed later: ${later}`;
}

async function range(client) {
  for (const [name, value] of [["range/a", "3"], ["range/b", "1"], ["range/c", "2"]]) {
    await client.put(key(name)).value(value);
  }
  const all = () => client.getAll().prefix(key("range/"));
  const answers = [
    await all().exec(),
    await all().limit(2).exec(),
    await all().sort("Value", "Descend").exec(),
    await all().serializable(true).exec(),
    await client.getAll().inRange(new Range(key("range/"), key("range/c"))).exec(),
  ];
  const texts = answers.map((answer) => `${listed(answer.kvs)} of ${answer.count}, more: ${answer.more}`);
  return `${texts.join("; ")}; ${await all().count()} keys ${(await all().keys()).map(short)}`;
}

async function deletion(client) {
  for (const name of ["a", "b", "c"]) {
    await client.put(key(`delete/${name}`)).value(name);
  }
  const one = await client.delete().key(key("delete/a")).getPrevious();
  const rest = await client.delete().prefix(key("delete/"));
  const none = await client.delete().prefix(key("delete/"));
  return `${listed(one)}, ${rest.deleted}, ${none.deleted}`;
}

async function txn(client) {
  const texts = [];
  for (const value of ["first", "second"]) {
    const answer = await client
      .if(key("txn"), "Version", "==", 0)
      .then(client.put(key("txn")).value(value), client.get(key("txn")))
      .else(client.get(key("txn")), client.delete().key(key("txn")))
      .commit();
    const parts = answer.responses.map((part) => part.response);
    const reads = answer.responses.filter((part) => part.response_range).map((part) => part.response_range.kvs);
    texts.push(`${answer.succeeded} ${parts} ${reads.map(listed)}`);
  }
  return texts.join("; ");
}

async function lease(client) {
  const granted = client.lease(60, { autoKeepAlive: false });
  const id = await granted.grant();
  await granted.put(key("leased")).value("1");
  const renewed = await granted.keepaliveOnce();
  const about = await client.leaseClient.leaseTimeToLive({ ID: id, keys: true });
  await granted.revoke();
  const left = await client.get(key("leased"));
  const again = await failure(client.leaseClient.leaseRevoke({ ID: id }));
  return `renewed ${renewed.TTL}, granted ${about.grantedTTL} with ${about.keys.map(short)}, then ${left}; ${again}`;
}

async function expiry(client) {
  const granted = client.lease(1, { autoKeepAlive: false });
  const answer = await granted.put(key("expires")).value("1");
  const events = await watched(client.watch().key(key("expires")).startRevision(answer.header.revision));
  const seen = await events(2);
  const about = await client.leaseClient.leaseTimeToLive({ ID: await granted.grant() });
  return `${seen}, then ${about.TTL}`;
}

async function watch(client) {
  const events = await watched(client.watch().prefix(key("watch/")).withPreviousKV());
  await client.put(key("watch/a")).value("1");
  await client.put(key("watch/a")).value("2");
  await client.delete().prefix(key("watch/"));
  return events(3);
}

async function history(client) {
  const answer = await client.put(key("history")).value("1");
  await client.put(key("history")).value("2");
  await client.delete().key(key("history"));
  const events = await watched(client.watch().key(key("history")).startRevision(answer.header.revision));
  return events(3);
}

async function lock(client) {
  const held = await client.lock(key("lock")).ttl(60).acquire();
  const busy = await failure(client.lock(key("lock")).ttl(60).acquire());
  await held.release();
  return `${busy.replace(prefix, "")}, then ${await client.lock(key("lock")).ttl(60).do(() => "taken")}`;
}

async function election(client) {
  const vote = client.election(key("election"), 60);
  const first = await vote.campaign("one").wait();
  const seen = await vote.leader();
  await first.proclaim("one again");
  const observer = await vote.observe();
  const proclaimed = observer.leader() ?? (await once(observer, "change"))[0];
  const second = vote.campaign("two");
  const elected = second.wait();
  const changed = new Promise((done) => observer.on("change", (value) => value === "two" && done(value)));
  await first.resign();
  await elected;
  const followed = await changed;
  await observer.cancel();
  await second.resign();
  return `${seen}, ${proclaimed}, ${followed}, ${await vote.leader()}`;
}

async function users(client) {
  const [user, role] = [client.user(key("user")), client.role(key("user"))];
  await user.create("password");
  const again = await failure(user.create("password"));
  await role.create();
  await role.grant({ permission: "Readwrite", range: new Range("a", "b") });
  await user.addRole(role);
  const roles = await user.roles();
  const [granted] = await role.permissions();
  await user.delete();
  await role.delete();
  const gone = await failure(user.roles());
  return `${again}; ${roles.length} role, ${granted.permission} ${granted.range.start} ${granted.range.end}; ${gone}`;
}

async function compaction(client) {
  const old = await client.put(key("compacted")).value("1");
  const at = (await client.put(key("compacted")).value("2")).header.revision;
  await client.kv.compact({ revision: at });
  const again = await failure(client.kv.compact({ revision: at }));
  const read = await failure(client.get(key("compacted")).revision(old.header.revision).exec());
  const watcher = client.watch().key(key("compacted")).startRevision(old.header.revision).watcher();
  const [end] = await once(watcher, "error").catch((error) => [error]);
  return `${again}; ${read}; ${end.constructor.name} ${end.message.replace(at, "where it was")}`;
}

/** Watches a key. The members learn of a token one after the other, and the client does not try again. */
async function begin(client, name) {
  for (;;) {
    try {
      return await watched(client.watch().key(key(name)));
    } catch (error) {
      if (!error.message.includes("invalid auth token")) {
        throw error;
      }
    }
  }
}

/** Uses a key as the user. */
async function use(client, name) {
  const events = await begin(client, name);
  const granted = client.lease(60);
  await granted.put(key(name)).value("1");
  const seen = await events(1);
  await granted.revoke();
  const left = await client.get(key(name));
  client.close();
  return `${seen}, then ${left}`;
}

async function denied() {
  const [client, stranger] = [open(worker), open()];
  const foreign = await failure(client.put("elsewhere").value("1").exec());
  const admin = await failure(client.getUsers());
  return `${foreign}; ${admin}; ${await failure(stranger.get(key("login")).exec())}`;
}

const read = (name) => fs.readFileSync(path.join(certificates, name));
const trust = () => ({ rootCertificate: read("ca.crt") });
const identity = () => ({ ...trust(), privateKey: read("client.key"), certChain: read("client.crt") });

async function withoutCertificate() {
  const stranger = connect("https", secure, REFUSED_WITHIN, { credentials: trust() });
  return `refused: ${Boolean(await failure(stranger.get(key("tls")).exec()))}`;
}

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Waits until the test lets the program continue. */
async function pause(before) {
  console.log(`before ${before}`);
  if ((await lines.next()).done) {
    throw new Error("the test has ended");
  }
}

async function main() {
  const say = async (check, outcome) => console.log(`${check}: ${await outcome}`);
  const client = open();
  await say("put", put(client));
  await say("range", range(client));
  await say("delete", deletion(client));
  await say("txn", txn(client));
  await say("lease", lease(client));
  await say("expiry", expiry(client));
  await say("watch", watch(client));
  await say("history", history(client));
  await say("lock", lock(client));
  await say("election", election(client));
  await say("users", users(client));
  await pause("compaction");
  await say("compaction", compaction(client));
  client.close();
  await pause("authentication");
  await say("login", use(open(worker), "login"));
  await say("wrong password", failure(open({ auth: { ...worker.auth, password: "wrong" } }).get(key("login")).exec()));
  await say("denied", denied());
  const overTls = connect("https", secure, REQUEST_WITHIN, { credentials: identity(), ...worker });
  await say("TLS", use(overTls, "tls"));
  await say("no certificate", withoutCertificate());
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
