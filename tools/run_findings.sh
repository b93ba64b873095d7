#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run_findings.sh [NAME...]: run the scripts of findings/ (all by default), and count those that are still as they say.
set -uo pipefail
cd "$(dirname "$0")/../findings" || exit 2
[ $# -gt 0 ] || set -- *.sh
changed=()
for name in "$@"; do
    name=${name%.sh}
    echo "== $name"
    bash "$name.sh" || changed+=("$name")
done
echo "findings: $(($# - ${#changed[@]})) as described, ${#changed[@]} not${changed[*]:+ (${changed[*]})}"
[ ${#changed[@]} -eq 0 ]
