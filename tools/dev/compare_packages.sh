#!/usr/bin/env bash
# compare_packages.sh ARCHITECTURE PROFILE
#
# Makes the package in two clones of the last commit, in folders of different names, and fails unless both have the same bytes.
set -euo pipefail

root=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
architecture=$1 profile=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

git clone --quiet "$root" "$work/first"
git clone --quiet "$work/first" "$work/the-second"
for clone in first the-second; do
    make -C "$work/$clone" package ARCH="$architecture" PROFILE="$profile"
done
cd "$work"
if ! diff --brief --recursive first/dist the-second/dist; then
    echo "the packages of two clones differ" >&2
    exit 1
fi
(cd first/dist && sha256sum ./*.tar.gz)
