#!/usr/bin/env bash
# generate.sh: prints operator.yaml, for installations without Helm. It has the objects that the chart quorate-operator
# installs with its default values in the namespace quorate-system, but not the definitions, which are in crds:
#
#   deploy/generate.sh >deploy/operator.yaml
#
# A test fails when that file is not current.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cat <<Y
# Made by deploy/generate.sh from charts/quorate-operator.
apiVersion: v1
kind: Namespace
metadata:
  name: quorate-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
Y
helm template quorate-operator "$here/../charts/quorate-operator" --namespace quorate-system --skip-tests \
  --set crds.install=false
