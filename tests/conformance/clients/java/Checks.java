import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.ClientBuilder;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.auth.Permission;
import io.etcd.jetcd.common.exception.CompactedException;
import io.etcd.jetcd.election.LeaderResponse;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.grpc.netty.GrpcSslContexts;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.net.URI;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;

/** Checks the Java client jetcd: see ../build.sh for the arguments, the lines and the pauses. */
public final class Checks {
    /** The time limits in milliseconds: of a request, of a refused connection, and of a try to take a held lock. */
    private static final long REQUEST_WITHIN = 30_000;
    private static final long REFUSED_WITHIN = 1_000;
    private static final long BUSY_FOR = 200;

    private final String members;
    private final String secure;
    private final File certificates;
    private final String prefix;
    private Client client;

    private Checks(String[] arguments) {
        members = arguments[0];
        secure = arguments[1];
        certificates = new File(arguments[2]);
        prefix = arguments[3];
    }

    public static void main(String[] arguments) throws Exception {
        new Checks(arguments).run(new BufferedReader(new InputStreamReader(System.in, UTF_8)));
        System.exit(0);
    }

    private void run(BufferedReader pauses) throws Exception {
        client = plain().build();
        say("put", this::put);
        say("range", this::range);
        say("delete", this::delete);
        say("txn", this::txn);
        say("lease", this::lease);
        say("expiry", this::expiry);
        say("watch", this::watch);
        say("history", this::history);
        say("lock", this::lock);
        say("election", this::election);
        say("users", this::users);
        pause(pauses, "compaction");
        say("compaction", this::compaction);
        client.close();
        pause(pauses, "authentication");
        say("login", () -> use(as(plain(), "work"), "login"));
        say("wrong password", this::wrongPassword);
        say("denied", this::denied);
        say("TLS", () -> use(as(overTls(trust().keyManager(file("client.crt"), file("client.key"))), "work"), "tls"));
        say("no certificate", this::withoutCertificate);
    }

    private String put() throws Exception {
        set("put", "1");
        PutOption withPrevious = PutOption.builder().withPrevKV().build();
        KeyValue before = done(client.getKVClient().put(key("put"), bytes("2"), withPrevious)).getPrevKv();
        KeyValue now = done(client.getKVClient().get(key("put"))).getKvs().get(0);
        boolean isLater = now.getModRevision() > now.getCreateRevision();
        return text(now.getValue()) + " after " + text(before.getValue()) + ", version " + now.getVersion()
                + ", changed later: " + isLater;
    }

    private String range() throws Exception {
        set("range/a", "3");
        set("range/b", "1");
        set("range/c", "2");
        List<String> texts = new ArrayList<>();
        for (GetOption.Builder options : List.of(
                all(),
                all().withLimit(2),
                all().withSortField(GetOption.SortTarget.VALUE).withSortOrder(GetOption.SortOrder.DESCEND),
                all().withCountOnly(true),
                all().withKeysOnly(true).withSerializable(true),
                GetOption.builder().withRange(key("range/c")))) {
            GetResponse answer = done(client.getKVClient().get(key("range/"), options.build()));
            texts.add(list(answer.getKvs()) + " of " + answer.getCount() + ", more: " + answer.isMore());
        }
        return String.join("; ", texts);
    }

    private static GetOption.Builder all() {
        return GetOption.builder().isPrefix(true);
    }

    private String delete() throws Exception {
        set("delete/a", "1");
        set("delete/b", "2");
        set("delete/c", "3");
        DeleteOption withPrevious = DeleteOption.builder().withPrevKV(true).build();
        DeleteOption all = DeleteOption.builder().isPrefix(true).build();
        List<KeyValue> one = done(client.getKVClient().delete(key("delete/a"), withPrevious)).getPrevKvs();
        long rest = done(client.getKVClient().delete(key("delete/"), all)).getDeleted();
        long none = done(client.getKVClient().delete(key("delete/"), all)).getDeleted();
        return list(one) + ", " + rest + ", " + none;
    }

    private String txn() throws Exception {
        List<String> texts = new ArrayList<>();
        for (String value : List.of("first", "second")) {
            var answer = done(client.getKVClient().txn()
                    .If(new Cmp(key("txn"), Cmp.Op.EQUAL, CmpTarget.version(0)))
                    .Then(Op.put(key("txn"), bytes(value), PutOption.DEFAULT), Op.get(key("txn"), GetOption.DEFAULT))
                    .Else(Op.get(key("txn"), GetOption.DEFAULT), Op.delete(key("txn"), DeleteOption.DEFAULT))
                    .commit());
            texts.add(answer.isSucceeded() + " " + answer.getPutResponses().size() + " "
                    + list(answer.getGetResponses().get(0).getKvs()) + " " + answer.getDeleteResponses().size());
        }
        return String.join("; ", texts);
    }

    private String lease() throws Exception {
        var granted = done(client.getLeaseClient().grant(60));
        long id = granted.getID();
        done(client.getKVClient().put(key("leased"), bytes("1"), PutOption.builder().withLeaseId(id).build()));
        long renewed = done(client.getLeaseClient().keepAliveOnce(id)).getTTL();
        var about = done(client.getLeaseClient().timeToLive(id, LeaseOption.builder().withAttachedKeys().build()));
        done(client.getLeaseClient().revoke(id));
        long left = done(client.getKVClient().get(key("leased"))).getCount();
        String again = failure(client.getLeaseClient().revoke(id));
        return granted.getTTL() + ", renewed " + renewed + ", granted " + about.getGrantedTTL() + " with "
                + about.getKeys().size() + ", then " + left + " keys; " + again;
    }

    private String expiry() throws Exception {
        var granted = done(client.getLeaseClient().grant(1));
        PutOption leased = PutOption.builder().withLeaseId(granted.getID()).build();
        long from = done(client.getKVClient().put(key("expires"), bytes("1"), leased)).getHeader().getRevision();
        String seen;
        try (Events events = new Events(client, "expires", WatchOption.builder().withRevision(from))) {
            seen = events.take(2);
        }
        long ttl = done(client.getLeaseClient().timeToLive(granted.getID(), LeaseOption.DEFAULT)).getTTL();
        return granted.getTTL() + ", " + seen + ", then " + ttl;
    }

    private String watch() throws Exception {
        WatchOption.Builder options = WatchOption.builder().isPrefix(true).withPrevKV(true);
        try (Events events = new Events(client, "watch/", options)) {
            set("watch/a", "1");
            set("watch/a", "2");
            done(client.getKVClient().delete(key("watch/a")));
            return events.take(3);
        }
    }

    private String history() throws Exception {
        long from = set("history", "1");
        set("history", "2");
        done(client.getKVClient().delete(key("history")));
        try (Events events = new Events(client, "history", WatchOption.builder().withRevision(from))) {
            return events.take(3);
        }
    }

    private String lock() throws Exception {
        long first = done(client.getLeaseClient().grant(60)).getID();
        long second = done(client.getLeaseClient().grant(60)).getID();
        var held = done(client.getLockClient().lock(key("lock"), first));
        var waiting = client.getLockClient().lock(key("lock"), second);
        boolean isBusy = false;
        try {
            waiting.get(BUSY_FOR, TimeUnit.MILLISECONDS);
        } catch (TimeoutException expected) {
            isBusy = true;
        }
        done(client.getLockClient().unlock(held.getKey()));
        boolean isOther = !done(waiting).getKey().equals(held.getKey());
        done(client.getLeaseClient().revoke(second));
        return isBusy + ", then taken: " + isOther;
    }

    private String election() throws Exception {
        Election election = client.getElectionClient();
        ByteSequence name = key("election");
        long one = done(client.getLeaseClient().grant(60)).getID();
        long two = done(client.getLeaseClient().grant(60)).getID();
        var leader = done(election.campaign(name, one, bytes("one"))).getLeader();
        String seen = text(done(election.leader(name)).getKv().getValue());
        done(election.proclaim(leader, bytes("one again")));
        Leaders leaders = new Leaders();
        election.observe(name, leaders);
        String proclaimed = leaders.next();
        var next = election.campaign(name, two, bytes("two"));
        done(election.resign(leader));
        var successor = done(next).getLeader();
        String followed = leaders.next();
        done(election.resign(successor));
        return seen + ", " + proclaimed + ", " + followed + ", " + failure(election.leader(name));
    }

    private String users() throws Exception {
        var auth = client.getAuthClient();
        ByteSequence name = key("user");
        done(auth.userAdd(name, bytes("password")));
        String again = failure(auth.userAdd(name, bytes("password")));
        done(auth.roleAdd(name));
        done(auth.roleGrantPermission(name, bytes("a"), bytes("b"), Permission.Type.READWRITE));
        done(auth.userGrantRole(name, name));
        int roles = done(auth.userGet(name)).getRoles().size();
        Permission granted = done(auth.roleGet(name)).getPermissions().get(0);
        done(auth.userDelete(name));
        done(auth.roleDelete(name));
        return again + "; " + roles + " role, " + granted.getPermType() + " " + text(granted.getKey()) + " "
                + text(granted.getRangeEnd()) + "; " + failure(auth.userGet(name));
    }

    private String compaction() throws Exception {
        long old = set("compacted", "1");
        long at = set("compacted", "2");
        done(client.getKVClient().compact(at));
        String again = failure(client.getKVClient().compact(at));
        String read = failure(client.getKVClient().get(key("compacted"), GetOption.builder().withRevision(old).build()));
        var end = new CompletableFuture<Throwable>();
        WatchOption from = WatchOption.builder().withRevision(old).build();
        client.getWatchClient().watch(key("compacted"), from, events -> { }, end::complete);
        CompactedException compacted = (CompactedException) done(end);
        return again + "; " + read + "; compacted where it was: " + (compacted.getCompactedRevision() == at);
    }

    /** Uses a key as the user. */
    private String use(ClientBuilder builder, String name) throws Exception {
        try (Client worker = builder.build(); Events events = new Events(worker, name, WatchOption.builder())) {
            long id = done(worker.getLeaseClient().grant(60)).getID();
            done(worker.getKVClient().put(key(name), bytes("1"), PutOption.builder().withLeaseId(id).build()));
            String seen = events.take(1);
            done(worker.getLeaseClient().revoke(id));
            return seen + ", then " + done(worker.getKVClient().get(key(name))).getCount() + " keys";
        }
    }

    private String wrongPassword() throws Exception {
        try (Client stranger = as(plain(), "wrong").build()) {
            return failure(stranger.getKVClient().get(key("login")));
        }
    }

    private String denied() throws Exception {
        try (Client worker = as(plain(), "work").build(); Client stranger = plain().build()) {
            return failure(worker.getKVClient().put(bytes("elsewhere"), bytes("1"))) + "; "
                    + failure(worker.getAuthClient().userList()) + "; "
                    + failure(stranger.getKVClient().get(key("login")));
        }
    }

    private String withoutCertificate() throws Exception {
        try (Client stranger = overTls(trust()).build()) {
            stranger.getKVClient().get(key("tls")).get(REFUSED_WITHIN, TimeUnit.MILLISECONDS);
            return "refused: false";
        } catch (ExecutionException | TimeoutException expected) {
            return "refused: true";
        }
    }

    private ClientBuilder plain() {
        return Client.builder().endpoints(uris("http", members));
    }

    private ClientBuilder overTls(SslContextBuilder builder) throws Exception {
        SslContext context = GrpcSslContexts.configure(builder).build();
        return Client.builder().endpoints(uris("https", secure)).sslContext(context);
    }

    private static List<URI> uris(String scheme, String addresses) {
        return Arrays.stream(addresses.split(",")).map(address -> URI.create(scheme + "://" + address))
                .collect(Collectors.toList());
    }

    private static ClientBuilder as(ClientBuilder builder, String password) {
        return builder.user(bytes("worker")).password(bytes(password));
    }

    private SslContextBuilder trust() {
        return SslContextBuilder.forClient().trustManager(file("ca.crt"));
    }

    private File file(String name) {
        return new File(certificates, name);
    }

    private static ByteSequence bytes(String text) {
        return ByteSequence.from(text, UTF_8);
    }

    private static String text(ByteSequence bytes) {
        return bytes.toString(UTF_8);
    }

    /** A key of this run. */
    private ByteSequence key(String name) {
        return bytes(prefix + name);
    }

    /** Sets a key and returns the revision. */
    private long set(String name, String value) throws Exception {
        return done(client.getKVClient().put(key(name), bytes(value))).getHeader().getRevision();
    }

    private String list(List<KeyValue> pairs) {
        return pairs.stream().map(this::pair).collect(Collectors.joining(" "));
    }

    private String pair(KeyValue pair) {
        return text(pair.getKey()).substring(prefix.length()) + "=" + text(pair.getValue());
    }

    private static <T> T done(CompletableFuture<T> request) throws Exception {
        return request.get(REQUEST_WITHIN, TimeUnit.MILLISECONDS);
    }

    /** The error of a request that must fail. */
    private static String failure(CompletableFuture<?> request) throws Exception {
        try {
            done(request);
        } catch (ExecutionException failed) {
            return failed.getCause().getMessage();
        }
        throw new IllegalStateException("it does not fail");
    }

    private static void say(String check, Callable<String> outcome) throws Exception {
        System.out.println(check + ": " + outcome.call());
    }

    /** Waits until the test lets the program continue. */
    private static void pause(BufferedReader pauses, String before) throws Exception {
        System.out.println("before " + before);
        if (pauses.readLine() == null) {
            throw new IllegalStateException("the test has ended");
        }
    }

    /** The events of a watch, which the server has begun. */
    private final class Events implements AutoCloseable {
        private final BlockingQueue<String> texts = new LinkedBlockingQueue<>();
        private final Watch.Watcher watcher;

        Events(Client of, String name, WatchOption.Builder options) throws Exception {
            var begun = new CompletableFuture<Void>();
            watcher = of.getWatchClient().watch(key(name), options.withCreateNotify(true).build(), answer -> {
                answer.getEvents().forEach(event -> {
                    String before = text(event.getPrevKV().getValue());
                    texts.add(event.getEventType() + " " + pair(event.getKeyValue())
                            + (before.isEmpty() ? "" : " was " + before));
                });
                begun.complete(null);
            }, begun::completeExceptionally);
            done(begun);
        }

        String take(int count) throws Exception {
            List<String> taken = new ArrayList<>();
            while (taken.size() < count) {
                taken.add(texts.take());
            }
            return String.join(", ", taken);
        }

        @Override
        public void close() {
            watcher.close();
        }
    }

    /** The values of the leaders of an election. */
    private static final class Leaders implements Election.Listener {
        private final BlockingQueue<String> values = new LinkedBlockingQueue<>();

        String next() throws Exception {
            return values.take();
        }

        @Override
        public void onNext(LeaderResponse leader) {
            values.add(text(leader.getKv().getValue()));
        }

        @Override
        public void onError(Throwable error) {
            values.add(error.toString());
        }

        @Override
        public void onCompleted() { }
    }
}
