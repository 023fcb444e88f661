#!/usr/bin/env bash
# phase.sh TITLE COMMAND...
#
# Runs one phase of the checks: a line that says what it is and how long it took. What the command has to say is shown if
# it fails, or with V=1 in any case.
set -euo pipefail

title=$1
shift
output=$(mktemp)
trap 'rm -f "$output"' EXIT

printf '%-54s ' "$title"
started=$(date +%s%N)
code=0
if [[ ${V:-} ]]; then
    echo
    "$@" || code=$?
else
    "$@" >"$output" 2>&1 </dev/null || code=$?
fi
elapsed=$((($(date +%s%N) - started) / 100000000))
seconds="$((elapsed / 10)).$((elapsed % 10)) s"

if ((code == 0)); then
    echo "ok      $seconds"
else
    echo "FAILED  $seconds"
    printf '+ %s\n' "$*"
    cat "$output"
    exit "$code"
fi
