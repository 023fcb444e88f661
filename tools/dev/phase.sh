#!/usr/bin/env bash
# phase.sh TITLE COMMAND...
#
# Runs one phase of the checks and prints a line when it has ended: its title, its result, how long it took. The
# command's output is shown if it fails, or with V=1 in any case. Several phases can run at once.
set -euo pipefail

title=$1
shift
# With these, cargo would compile with no more processes than `make --jobs` allows.
unset MAKEFLAGS MFLAGS
output=$(mktemp)
trap 'rm -f "$output"' EXIT

if [[ -t 1 ]]; then
    echo "$title ..."
fi
started=$(date +%s%N)
code=0
if [[ ${V:-} ]]; then
    "$@" || code=$?
else
    "$@" >"$output" 2>&1 </dev/null || code=$?
fi
elapsed=$((($(date +%s%N) - started) / 100000000))
seconds="$((elapsed / 10)).$((elapsed % 10)) s"

if ((code == 0)); then
    printf '%-54s ok      %s\n' "$title" "$seconds"
else
    printf '%-54s FAILED  %s\n+ %s\n' "$title" "$seconds" "$*"
    cat "$output"
    exit "$code"
fi
