#!/usr/bin/env bash
# pki.sh DIR SERVER_URL [NODE...]: the certificates and keys for a cluster's mutual TLS, in DIR. Guarantees two
# authorities that do not know each other, as kubeadm has them:
#
#   ca         API server, its clients (with kubeconfigs for SERVER_URL), kubelets
#   store-ca   the store and the only client it admits, store-client: a certificate of Kubernetes' own must not open it
#
# Does nothing when DIR has them already.
set -euo pipefail
dir=$1 server=$2
shift 2
[ ! -f "$dir/complete" ] || exit 0
mkdir -p "$dir"
cd "$dir"
address=${server#https://}
address=${address%:*}

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null; }

authority() { # NAME
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 365 -out "$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature
}

certificate() { # AUTHORITY NAME SUBJECT USAGE [ALTERNATIVE_NAMES]
  key "$2"
  openssl req -new -key "$2.key" -subj "$3" -out "$2.csr"
  {
    echo "basicConstraints=critical,CA:FALSE"
    echo "keyUsage=critical,digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=$4"
    [ -z "${5-}" ] || echo "subjectAltName=$5"
  } >"$2.ext"
  openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -days 365 -extfile "$2.ext" \
    -out "$2.crt" 2>/dev/null
  rm "$2.csr" "$2.ext"
}

client() { # NAME SUBJECT
  certificate ca "$1" "$2" clientAuth
  cat >"$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: "$server", certificate-authority: $PWD/ca.crt}}]
users: [{name: "$1", user: {client-certificate: $PWD/$1.crt, client-key: $PWD/$1.key}}]
contexts: [{name: test, context: {cluster: test, user: "$1"}}]
Y
}

authority ca
names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
names=$names,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:$address
certificate ca apiserver /CN=kube-apiserver serverAuth "$names"
certificate ca apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client clientAuth
client admin /O=system:masters/CN=admin
client controller-manager /CN=system:kube-controller-manager
client scheduler /CN=system:kube-scheduler
for node in "$@"; do client "$node" "/O=system:nodes/CN=system:node:$node"; done
openssl genrsa -out sa.key 2048 2>/dev/null
openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null

authority store-ca
# A store that serves JSON beside gRPC may dial itself with this certificate, hence both usages.
certificate store-ca store /CN=store serverAuth,clientAuth DNS:localhost,IP:127.0.0.1
certificate store-ca store-client /CN=kube-apiserver-etcd-client clientAuth
touch complete
