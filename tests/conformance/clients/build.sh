#!/usr/bin/env bash
# build.sh [CLIENT...]: builds the programs that check independent clients, all or those named, in the tests' cache
# (see ../../support/peers/cache.sh). Does nothing for a program that is there and made from these sources.
#
#   go/VERSION   bin/client-go-VERSION, with etcd's Go client of this version
#   python       client-python/bin/python, which runs python/with_*.py
#   node         client-node/node_modules, for node/checks.js
#   java         client-java/*, the class path of Checks
#   rust         bin/client-rust
#
# All programs are called in one way, and behave alike:
#
#   PROGRAM MEMBERS SECURE_MEMBERS CERTIFICATES PREFIX
#
# The members are addresses with commas between them, of a cluster without TLS and of one that wants certificates of
# clients. The certificates are a folder with ca.crt, client.crt and client.key. PREFIX starts all keys.
#
# A program writes a line for each check: its name, a colon, and the outcome. Values that differ between two runs, such
# as revisions, are left out. At the line `before compaction` or `before authentication` it waits for a line on its
# standard input. The cluster without TLS requires users only after the second line; the other cluster always requires
# them. The user `worker` with the password `work` may use the keys with the prefix. A program fails if a request has an
# unexpected error.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../../support/peers/cache.sh
. ../../support/peers/cache.sh

make_go() {
  local folder
  folder=$(mktemp -d)
  cp go/*.go "go/$version"/go.* "$folder"
  # The client before 3.5 has another name.
  [ "$version" != 3.4 ] || sed -i 's|go.etcd.io/etcd/client/v3|go.etcd.io/etcd/clientv3|' "$folder"/*.go
  GO_NAME=client-go-$version GO_DIR=$folder GO_PACKAGE=. GO_LDFLAGS="-s -w" go_compile
  rm -r "$folder"
}

make_python() {
  python3 -m venv --clear "$CACHE/client-python"
  "$CACHE/client-python/bin/python" -m pip install --quiet --disable-pip-version-check \
    --requirement python/requirements.txt
}

make_node() {
  rm -rf "$CACHE/client-node"
  mkdir "$CACHE/client-node"
  cp node/package*.json "$CACHE/client-node"
  npm ci --prefix "$CACHE/client-node" --ignore-scripts --no-audit --no-fund --silent
}

make_java() {
  local folder=$CACHE/client-java plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1
  rm -rf "$folder"
  mvn --quiet --batch-mode --file java/pom.xml "$plugin:copy-dependencies" "-DoutputDirectory=$folder" >&2
  javac -nowarn -cp "$folder/*" -d "$folder" java/Checks.java
}

make_rust() {
  local folder
  folder=$(mktemp -d)
  # The client compiles etcd's definitions itself, for which Python's package has the compiler.
  printf '#!/bin/sh\nexec "%s" -m grpc_tools.protoc "$@"\n' "$CACHE/client-python/bin/python" >"$folder/protoc"
  chmod +x "$folder/protoc"
  PROTOC=$folder/protoc CARGO_TARGET_DIR=$folder cargo build --quiet --locked --manifest-path rust/Cargo.toml
  mv "$folder/debug/client-rust" "$BIN/client-rust"
  rm -r "$folder"
}

build_python() {
  # A new Python needs other packages.
  once client-python "$(key python/requirements.txt) $(python3 --version)" make_python "$CACHE/client-python/bin/python"
}

# key FILE...: the hash of these files and of this one.
key() { digest build.sh "$@"; }

versions=(go/*/)
[ $# != 0 ] || set -- "${versions[@]%/}" python node java rust
for client; do
  case $client in
  go/*)
    version=${client#go/}
    once "client-go-$version" "$(key go/*.go "go/$version"/go.*)" make_go "$BIN/client-go-$version"
    ;;
  python) build_python ;;
  node)
    once client-node "$(key node/package*.json)" make_node "$CACHE/client-node/node_modules"
    ;;
  java)
    once client-java "$(key java/*)" make_java "$CACHE/client-java/Checks.class"
    ;;
  rust)
    build_python
    once client-rust "$(key rust/Cargo.* rust/src/*)" make_rust "$BIN/client-rust"
    ;;
  *) echo "no such client: $client" >&2 && exit 2 ;;
  esac
done
