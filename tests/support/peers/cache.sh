# shellcheck shell=bash
# cache.sh is sourced by the scripts that build the programs that the tests need from outside this repository:
#
#   . cache.sh
#   go_binary NAME DIR PACKAGE [LDFLAGS]      a static Go program as $BIN/NAME
#   once NAME KEY FUNCTION FILE...            anything else
#
# It guarantees that a thing is made once for one content of its sources, however many processes ask for
# it at the same time, and that a half-written one is never seen. The cache is $QUORATE_TEST_CACHE,
# by default ${XDG_CACHE_HOME:-$HOME/.cache}/quorate; programs lie in its bin/, and beside each the key of the
# sources it was made from (.NAME.key).

CACHE=${QUORATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}
BIN=$CACHE/bin
mkdir -p "$BIN"

# digest FILE...: one hash over the files' names (as given) and contents.
digest() { sha256sum -- "$@" | sha256sum | cut -d' ' -f1; }

# once NAME KEY FUNCTION FILE...: calls FUNCTION, which makes every FILE, unless all of them are there for KEY.
once() {
  local name=$1 key=$2 make=$3 lock
  shift 3
  exec {lock}>"$CACHE/.$name.lock"
  flock "$lock"
  if ! current "$name" "$key" "$@"; then
    echo "building $name" >&2
    rm -f "$BIN/.$name.key"
    # FUNCTION is not called in a condition, where `set -e` would not stop it at its first failure. It runs without the
    # lock, because a process that it leaves behind would go on holding the lock.
    "$make" {lock}>&-
    echo "$key" >"$BIN/.$name.key"
  fi
  exec {lock}>&-
}

current() {
  local name=$1 key=$2 file
  shift 2
  [ "$(cat "$BIN/.$name.key" 2>/dev/null)" = "$key" ] || return 1
  for file in "$@"; do [ -e "$file" ] || return 1; done
}

# go_binary NAME DIR PACKAGE [LDFLAGS]: PACKAGE of the module in DIR.
go_binary() {
  GO_NAME=$1 GO_DIR=$2 GO_PACKAGE=$3 GO_LDFLAGS="-s -w ${4-}"
  once "$1" "$(go_key) $GO_LDFLAGS" go_compile "$BIN/$1"
}

# go_test_binary NAME DIR: the tests of the package in DIR.
go_test_binary() {
  GO_NAME=$1 GO_DIR=$2 GO_PACKAGE=. GO_LDFLAGS="-s -w"
  once "$1" "$(go_key) $GO_LDFLAGS" go_compile_test "$BIN/$1"
}

go_key() { (cd "$GO_DIR" && digest go.mod go.sum "$GO_PACKAGE"/*.go); }

# Everything is compiled with the same settings, so that one build cache serves all the programs.
GO_FLAGS=(-trimpath -buildvcs=false)

go_compile() {
  local new=$BIN/.$GO_NAME.new
  (cd "$GO_DIR" && CGO_ENABLED=0 go build "${GO_FLAGS[@]}" -ldflags "$GO_LDFLAGS" -o "$new" "$GO_PACKAGE")
  mv "$new" "$BIN/$GO_NAME" # replaces a program that runs, too
}

go_compile_test() {
  local new=$BIN/.$GO_NAME.new
  (cd "$GO_DIR" && CGO_ENABLED=0 go test -c "${GO_FLAGS[@]}" -ldflags "$GO_LDFLAGS" -o "$new" "$GO_PACKAGE")
  mv "$new" "$BIN/$GO_NAME"
}
