//! The deployments of other programs, and etcd's own examples.

use crate::deployment::Probe::{Keys, Page};
use crate::deployment::{Deployment, NONE};

pub(crate) const TOOLS: &[Deployment] = &[
    Deployment {
        name: "bitnami",
        // Its tokens are signed by an RSA key, with RS256.
        variables: "ETCD_AUTH_TOKEN=jwt,priv-key={pki}/server.key,sign-method=ES256,ttl=10m
                    ALLOW_NONE_AUTHENTICATION=yes
                    ETCDCTL_API=3
                    ETCD_ON_K8S=yes
                    ETCD_START_FROM_SNAPSHOT=no
                    ETCD_DISASTER_RECOVERY=no
                    ETCD_NAME=etcd-0
                    ETCD_DATA_DIR={dir}/data
                    ETCD_LOG_LEVEL=info
                    ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:{client}
                    ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:{client}
                    ETCD_INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:{peer}
                    ETCD_LISTEN_PEER_URLS=http://127.0.0.1:{peer}
                    ETCD_INITIAL_CLUSTER=etcd-0=http://127.0.0.1:{peer}
                    ETCD_INITIAL_CLUSTER_TOKEN=etcd-cluster-k8s
                    ETCD_INITIAL_CLUSTER_STATE=new
                    ETCD_CLUSTER_DOMAIN=etcd-headless.default.svc.cluster.local",
        probes: &[Page("127.0.0.1:{client}", "/livez"), Keys("http://127.0.0.1:{client}")],
        says: &["ETCD_ON_K8S is unknown"],
        ..NONE
    },
    Deployment {
        name: "Debian",
        variables: "ETCD_NAME=host
                    ETCD_DATA_DIR={dir}/data
                    ETCD_LISTEN_PEER_URLS=http://localhost:{peer}
                    ETCD_LISTEN_CLIENT_URLS=http://localhost:{client}
                    ETCD_INITIAL_ADVERTISE_PEER_URLS=http://localhost:{peer}
                    ETCD_ADVERTISE_CLIENT_URLS=http://localhost:{client}
                    ETCD_DISCOVERY=
                    ETCD_STRICT_RECONFIG_CHECK=
                    ETCD_PROXY=",
        probes: &[Page("127.0.0.1:{client}", "/health"), Keys("http://127.0.0.1:{client}")],
        ..NONE
    },
    Deployment {
        name: "Vitess",
        flags: "--data-dir {dir}/data --listen-client-urls http://127.0.0.1:{client} \
                --advertise-client-urls http://127.0.0.1:{client} \
                --listen-peer-urls http://127.0.0.1:{peer} --enable-v2=false",
        is_for_3_7: false,
        probes: &[Keys("http://127.0.0.1:{client}")],
        says: &["--enable-v2 is ignored"],
        ..NONE
    },
    Deployment {
        name: "Milvus",
        flags: "-advertise-client-urls=http://127.0.0.1:{client} \
                -listen-client-urls http://127.0.0.1:{client} \
                -listen-peer-urls http://127.0.0.1:{peer} --data-dir {dir}/data",
        variables: "ETCD_AUTO_COMPACTION_MODE=revision
                    ETCD_AUTO_COMPACTION_RETENTION=1000
                    ETCD_QUOTA_BACKEND_BYTES=4294967296
                    ETCD_SNAPSHOT_COUNT=50000",
        probes: &[Page("127.0.0.1:{client}", "/health"), Keys("http://127.0.0.1:{client}")],
        ..NONE
    },
    Deployment {
        name: "APISIX",
        variables: "ETCD_ENABLE_V2=true
                    ALLOW_NONE_AUTHENTICATION=yes
                    ETCD_DATA_DIR={dir}/data
                    ETCD_LISTEN_PEER_URLS=http://127.0.0.1:{peer}
                    ETCD_ADVERTISE_CLIENT_URLS=http://127.0.0.1:{client}
                    ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:{client}",
        probes: &[Page("127.0.0.1:{client}", "/version"), Keys("http://127.0.0.1:{client}")],
        says: &["ETCD_ENABLE_V2 is ignored"],
        ..NONE
    },
    Deployment {
        name: "Patroni",
        flags: "--name etcd1 --initial-advertise-peer-urls http://127.0.0.1:{peer} \
                --advertise-client-urls http://127.0.0.1:{client}",
        variables: "ETCD_LISTEN_PEER_URLS=http://127.0.0.1:{peer}
                    ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:{client}
                    ETCD_INITIAL_CLUSTER=etcd1=http://127.0.0.1:{peer}
                    ETCD_INITIAL_CLUSTER_STATE=new
                    ETCD_INITIAL_CLUSTER_TOKEN=tutorial
                    ETCD_UNSUPPORTED_ARCH=arm64
                    ETCD_DATA_DIR={dir}/data",
        probes: &[Page("127.0.0.1:{client}", "/version"), Keys("http://127.0.0.1:{client}")],
        ..NONE
    },
    Deployment {
        name: "Procfile of etcd",
        flags: "--name infra1 --data-dir {dir}/data --listen-client-urls http://127.0.0.1:{client} \
                --advertise-client-urls http://127.0.0.1:{client} \
                --listen-peer-urls http://127.0.0.1:{peer} \
                --initial-advertise-peer-urls http://127.0.0.1:{peer} \
                --initial-cluster-token etcd-cluster-1 \
                --initial-cluster infra1=http://127.0.0.1:{peer} --initial-cluster-state new \
                --enable-pprof --logger=zap --log-outputs=stderr",
        probes: &[
            Page("127.0.0.1:{client}", "/debug/pprof/"),
            Page("127.0.0.1:{client}", "/health"),
            Keys("http://127.0.0.1:{client}"),
        ],
        ..NONE
    },
    Deployment {
        name: "sample file of etcd",
        variables: "ETCD_CONFIG_FILE={dir}/config.yaml
                    ETCD_NAME=ignored",
        yaml: "name: 'default'
data-dir: {dir}/data
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:{peer}
listen-client-urls: http://localhost:{client}
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:{peer}
advertise-client-urls: http://localhost:{client}
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster: default=http://localhost:{peer}
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
proxy-read-timeout: 0
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
  allowed-cn:
  allowed-hostname:
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: \"1\"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
",
        probes: &[Page("127.0.0.1:{client}", "/health"), Keys("http://127.0.0.1:{client}")],
        says: &["ignored: the variable ETCD_NAME", "discovery-fallback"],
        ..NONE
    },
];
