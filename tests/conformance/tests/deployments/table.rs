//! The deployments of Kubernetes distributions.

use crate::deployment::Probe::{Keys, Page};
use crate::deployment::{Deployment, NONE};
use crate::tools;

/// All deployments.
pub(crate) fn all() -> impl Iterator<Item = &'static Deployment> {
    KUBERNETES.iter().chain(tools::TOOLS)
}

const KUBERNETES: &[Deployment] = &[
    Deployment {
        name: "kubeadm 1.37",
        flags: "--advertise-client-urls=https://127.0.0.1:{client} --client-cert-auth=true \
                --cert-file={pki}/server.crt --data-dir={dir}/data \
                --feature-gates=InitialCorruptCheck=true --watch-progress-notify-interval=5s \
                --initial-advertise-peer-urls=https://127.0.0.1:{peer} \
                --initial-cluster=node=https://127.0.0.1:{peer} --key-file={pki}/server.key \
                --listen-client-urls=https://127.0.0.1:{client},https://127.0.0.2:{client} \
                --listen-metrics-urls=http://127.0.0.1:{metrics} \
                --listen-peer-urls=https://127.0.0.1:{peer} --name=node \
                --peer-cert-file={pki}/server.crt --peer-client-cert-auth=true \
                --peer-key-file={pki}/server.key --peer-trusted-ca-file={pki}/ca.crt \
                --snapshot-count=10000 --trusted-ca-file={pki}/ca.crt",
        probes: &[
            Page("127.0.0.1:{metrics}", "/livez"),
            Page("127.0.0.1:{metrics}", "/readyz"),
            Keys("https://127.0.0.1:{client}"),
        ],
        ..NONE
    },
    Deployment {
        name: "kubeadm 1.33",
        flags: "--advertise-client-urls=https://127.0.0.1:{client} --client-cert-auth=true \
                --cert-file={pki}/server.crt --data-dir={dir}/data \
                --experimental-initial-corrupt-check=true \
                --experimental-watch-progress-notify-interval=5s \
                --initial-advertise-peer-urls=https://127.0.0.1:{peer} \
                --initial-cluster=node=https://127.0.0.1:{peer} --key-file={pki}/server.key \
                --listen-client-urls=https://127.0.0.1:{client} \
                --listen-metrics-urls=http://127.0.0.1:{metrics} \
                --listen-peer-urls=https://127.0.0.1:{peer} --name=node \
                --peer-cert-file={pki}/server.crt --peer-client-cert-auth=true \
                --peer-key-file={pki}/server.key --peer-trusted-ca-file={pki}/ca.crt \
                --snapshot-count=10000 --trusted-ca-file={pki}/ca.crt",
        is_for_3_7: false,
        probes: &[
            Page("127.0.0.1:{metrics}", "/health?exclude=NOSPACE&serializable=true"),
            Page("127.0.0.1:{metrics}", "/health?serializable=false"),
            Keys("https://127.0.0.1:{client}"),
        ],
        says: &[
            "use --feature-gates=InitialCorruptCheck=true",
            "use --watch-progress-notify-interval",
        ],
        ..NONE
    },
    Deployment {
        name: "kubespray",
        variables: "ETCD_DATA_DIR={dir}/data
                    ETCD_ADVERTISE_CLIENT_URLS=https://127.0.0.1:{client}
                    ETCD_INITIAL_ADVERTISE_PEER_URLS=https://127.0.0.1:{peer}
                    ETCD_INITIAL_CLUSTER_STATE=new
                    ETCD_METRICS=basic
                    ETCD_LISTEN_CLIENT_URLS=https://127.0.0.1:{client}
                    ETCD_LISTEN_METRICS_URLS=http://127.0.0.1:{metrics}
                    ETCD_ELECTION_TIMEOUT=5000
                    ETCD_HEARTBEAT_INTERVAL=250
                    ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
                    ETCD_LISTEN_PEER_URLS=https://127.0.0.1:{peer}
                    ETCD_NAME=etcd1
                    ETCD_PROXY=off
                    ETCD_INITIAL_CLUSTER=etcd1=https://127.0.0.1:{peer}
                    ETCD_AUTO_COMPACTION_RETENTION=8
                    ETCD_SNAPSHOT_COUNT=100000
                    ETCD_QUOTA_BACKEND_BYTES=2147483648
                    ETCD_MAX_REQUEST_BYTES=1572864
                    ETCD_LOG_LEVEL=info
                    ETCD_MAX_SNAPSHOTS=5
                    ETCD_MAX_WALS=7
                    ETCD_TRUSTED_CA_FILE={pki}/ca.crt
                    ETCD_CERT_FILE={pki}/server.crt
                    ETCD_KEY_FILE={pki}/server.key
                    ETCD_CLIENT_CERT_AUTH=true
                    ETCD_PEER_TRUSTED_CA_FILE={pki}/ca.crt
                    ETCD_PEER_CERT_FILE={pki}/server.crt
                    ETCD_PEER_KEY_FILE={pki}/server.key
                    ETCD_PEER_CLIENT_CERT_AUTH=true
                    ETCD_CIPHER_SUITES=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                    ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=true
                    ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=5s
                    ETCDCTL_CACERT={pki}/ca.crt",
        probes: &[
            Page("127.0.0.1:{metrics}", "/health"),
            Page("127.0.0.1:{metrics}", "/metrics"),
            Keys("https://127.0.0.1:{client}"),
        ],
        says: &["--max-wals has no effect", "ETCD_PROXY is ignored"],
        ..NONE
    },
    Deployment {
        name: "RKE2",
        flags: "--config-file={dir}/config.yaml",
        yaml: "name: node-1
data-dir: {dir}/data
initial-advertise-peer-urls: https://127.0.0.1:{peer}
initial-cluster: node-1=https://127.0.0.1:{peer}
initial-cluster-state: new
listen-client-urls: https://127.0.0.1:{client}
listen-client-http-urls: https://127.0.0.1:{http}
listen-metrics-urls: http://127.0.0.1:{metrics}
listen-peer-urls: https://127.0.0.1:{peer}
advertise-client-urls: https://127.0.0.1:{client}
snapshot-count: 10000
heartbeat-interval: 500
election-timeout: 5000
logger: zap
log-outputs:
- stderr
experimental-initial-corrupt-check: true
experimental-watch-progress-notify-interval: 5000000000
socket-options:
  reuse-address: true
  reuse-port: true
client-transport-security:
  cert-file: {pki}/server.crt
  client-cert-auth: true
  key-file: {pki}/server.key
  trusted-ca-file: {pki}/ca.crt
peer-transport-security:
  cert-file: {pki}/server.crt
  client-cert-auth: true
  key-file: {pki}/server.key
  trusted-ca-file: {pki}/ca.crt
",
        probes: &[
            Page("127.0.0.1:{metrics}", "/health?serializable=true"),
            Keys("https://127.0.0.1:{client}"),
        ],
        says: &["experimental-watch-progress-notify-interval in "],
        ..NONE
    },
    Deployment {
        name: "Talos",
        flags: "--advertise-client-urls=https://127.0.0.1:{client} --auto-tls=false \
                --cert-file={pki}/server.crt --client-cert-auth=true --data-dir={dir}/data \
                --feature-gates=InitialCorruptCheck=true --feature-gates=CompactHashCheck=true \
                --initial-advertise-peer-urls=https://127.0.0.1:{peer} \
                --initial-cluster=talos=https://127.0.0.1:{peer} --initial-cluster-state=new \
                --key-file={pki}/server.key --listen-client-http-urls=https://127.0.0.1:{http} \
                --listen-client-urls=https://127.0.0.1:{client} \
                --listen-peer-urls=https://127.0.0.1:{peer} --name=talos --peer-auto-tls=false \
                --peer-cert-file={pki}/server.crt --peer-client-cert-auth=true \
                --peer-key-file={pki}/server.key --peer-trusted-ca-file={pki}/ca.crt \
                --tls-min-version=TLS1.3 --trusted-ca-file={pki}/ca.crt \
                --watch-progress-notify-interval=5s",
        variables: "ETCD_UNSUPPORTED_ARCH=arm64",
        probes: &[Keys("https://127.0.0.1:{client}")],
        ..NONE
    },
    Deployment {
        name: "OpenShift",
        flags: "--logger=zap --log-level=info --experimental-initial-corrupt-check=true \
                --snapshot-count=10000 --initial-advertise-peer-urls=https://127.0.0.1:{peer} \
                --cert-file={pki}/server.crt --key-file={pki}/server.key \
                --trusted-ca-file={pki}/ca.crt --client-cert-auth=true \
                --peer-cert-file={pki}/server.crt --peer-key-file={pki}/server.key \
                --peer-trusted-ca-file={pki}/ca.crt --peer-client-cert-auth=true \
                --advertise-client-urls=https://127.0.0.1:{client} \
                --listen-client-urls=https://127.0.0.1:{client},unixs://127.0.0.1:0 \
                --listen-peer-urls=https://127.0.0.1:{peer} --metrics=extensive \
                --listen-metrics-urls=http://127.0.0.1:{metrics}",
        variables: "ETCD_NAME=master-0
                    ETCD_DATA_DIR={dir}/data
                    ETCD_INITIAL_CLUSTER=master-0=https://127.0.0.1:{peer}
                    ETCD_INITIAL_CLUSTER_STATE=new
                    ETCD_ENABLE_PPROF=true
                    ETCD_CIPHER_SUITES=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,\
                    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                    ETCD_TLS_MIN_VERSION=TLS1.2
                    ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION=200ms
                    ETCD_EXPERIMENTAL_MAX_LEARNERS=1
                    ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=5s
                    ETCD_QUOTA_BACKEND_BYTES=8589934592
                    ETCD_SOCKET_REUSE_ADDRESS=true
                    ETCD_STATIC_POD_VERSION=7",
        is_for_3_7: false,
        probes: &[
            Page("127.0.0.1:{metrics}", "/health?serializable=true"),
            Page("127.0.0.1:{metrics}", "/metrics"),
            Keys("https://127.0.0.1:{client}"),
        ],
        says: &["use --warning-apply-duration", "ETCD_STATIC_POD_VERSION is unknown"],
        ..NONE
    },
    Deployment {
        name: "HyperShift",
        variables: "ETCD_NAME=etcd-0
                    ETCD_DATA_DIR={dir}/data
                    ETCD_INITIAL_ADVERTISE_PEER_URLS=https://127.0.0.1:{peer}
                    ETCD_LISTEN_PEER_URLS=https://127.0.0.1:{peer}
                    ETCD_LISTEN_CLIENT_URLS=https://127.0.0.1:{client}
                    ETCD_ADVERTISE_CLIENT_URLS=https://127.0.0.1:{client}
                    ETCD_LISTEN_METRICS_URLS=http://127.0.0.1:{metrics}
                    ETCD_INITIAL_CLUSTER_TOKEN=etcd-cluster
                    ETCD_INITIAL_CLUSTER=etcd-0=https://127.0.0.1:{peer}
                    ETCD_INITIAL_CLUSTER_STATE=new
                    ETCD_QUOTA_BACKEND_BYTES=8589934592
                    ETCD_SNAPSHOT_COUNT=10000
                    ETCD_CLIENT_CERT_AUTH=true
                    ETCD_CERT_FILE={pki}/server.crt
                    ETCD_KEY_FILE={pki}/server.key
                    ETCD_TRUSTED_CA_FILE={pki}/ca.crt
                    ETCD_PEER_CLIENT_CERT_AUTH=true
                    ETCD_PEER_CERT_FILE={pki}/server.crt
                    ETCD_PEER_KEY_FILE={pki}/server.key
                    ETCD_PEER_TRUSTED_CA_FILE={pki}/ca.crt",
        probes: &[Page("127.0.0.1:{metrics}", "/readyz"), Keys("https://127.0.0.1:{client}")],
        ..NONE
    },
    Deployment {
        name: "k0s",
        // Its tokens are signed by RSA keys, with RS512.
        flags: "--auth-token=jwt,pub-key={pki}/server.crt,priv-key={pki}/server.key,\
                sign-method=ES256,ttl=10m \
                --data-dir={dir}/data --listen-client-urls=https://127.0.0.1:{client} \
                --advertise-client-urls=https://127.0.0.1:{client} --client-cert-auth=true \
                --listen-peer-urls=https://127.0.0.1:{peer} \
                --initial-advertise-peer-urls=https://127.0.0.1:{peer} --name=controller \
                --initial-cluster=controller=https://127.0.0.1:{peer} \
                --trusted-ca-file={pki}/ca.crt --cert-file={pki}/server.crt \
                --key-file={pki}/server.key --peer-trusted-ca-file={pki}/ca.crt \
                --peer-key-file={pki}/server.key --peer-cert-file={pki}/server.crt \
                --peer-client-cert-auth=true --log-level=info --enable-pprof=false \
                --tls-min-version=TLS1.2 --cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,\
                TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,\
                TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        probes: &[Keys("https://127.0.0.1:{client}")],
        ..NONE
    },
    Deployment {
        name: "kamaji",
        flags: "--data-dir={dir}/data --name=etcd-0 --initial-cluster-state=new \
                --initial-cluster=etcd-0=https://127.0.0.1:{peer} \
                --initial-advertise-peer-urls=https://127.0.0.1:{peer} \
                --advertise-client-urls=https://127.0.0.1:{client} \
                --initial-cluster-token=kamaji --listen-client-urls=https://127.0.0.1:{client} \
                --listen-metrics-urls=http://127.0.0.1:{metrics} \
                --listen-peer-urls=https://127.0.0.1:{peer} --client-cert-auth=true \
                --peer-client-cert-auth=true --trusted-ca-file={pki}/ca.crt \
                --cert-file={pki}/server.crt --key-file={pki}/server.key \
                --peer-trusted-ca-file={pki}/ca.crt --peer-cert-file={pki}/server.crt \
                --peer-key-file={pki}/server.key --auto-compaction-mode=periodic \
                --auto-compaction-retention=5m --snapshot-count=10000 \
                --quota-backend-bytes=8589934592",
        probes: &[
            Page("127.0.0.1:{metrics}", "/health?serializable=true"),
            Page("127.0.0.1:{metrics}", "/health?serializable=false"),
            Keys("https://127.0.0.1:{client}"),
        ],
        ..NONE
    },
    Deployment {
        name: "vcluster",
        flags: "--cert-file={pki}/server.crt --client-cert-auth=true --data-dir={dir}/data \
                --advertise-client-urls=https://localhost:{client} \
                --initial-advertise-peer-urls=https://localhost:{peer} \
                --initial-cluster=etcd-0=https://localhost:{peer} \
                --initial-cluster-token=vcluster --initial-cluster-state=new \
                --listen-client-urls=https://127.0.0.1:{client} \
                --listen-metrics-urls=http://127.0.0.1:{metrics} \
                --listen-peer-urls=https://127.0.0.1:{peer} --key-file={pki}/server.key \
                --name=etcd-0 --peer-cert-file={pki}/server.crt --peer-client-cert-auth=true \
                --peer-key-file={pki}/server.key --peer-trusted-ca-file={pki}/ca.crt \
                --snapshot-count=10000 --trusted-ca-file={pki}/ca.crt",
        probes: &[
            Page("127.0.0.1:{metrics}", "/health"),
            Page("127.0.0.1:{metrics}", "/readyz"),
            Keys("https://localhost:{client}"),
        ],
        ..NONE
    },
    Deployment {
        name: "Cilium clustermesh",
        flags: "--data-dir={dir}/data --name=clustermesh-apiserver --client-cert-auth \
                --trusted-ca-file={pki}/ca.crt --cert-file={pki}/server.crt \
                --key-file={pki}/server.key \
                --listen-client-urls=https://127.0.0.1:{client},https://127.0.0.2:{client} \
                --advertise-client-urls=https://127.0.0.1:{client} \
                --listen-peer-urls=http://127.0.0.1:{peer} \
                --initial-advertise-peer-urls=http://127.0.0.1:{peer} \
                --initial-cluster-token=clustermesh-apiserver --auto-compaction-retention=1 \
                --listen-metrics-urls=http://127.0.0.1:{metrics} --metrics=extensive",
        variables: "ETCDCTL_API=3",
        probes: &[Page("127.0.0.1:{metrics}", "/metrics"), Keys("https://127.0.0.1:{client}")],
        ..NONE
    },
];
