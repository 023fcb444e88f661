#!/usr/bin/env bash
# Installs the Debian packages that the other targets need and this machine lacks; with --browser, also what the tests of the keys
# page need; with --bench, what `make bench` needs; with --release, what `make release-check` needs. Without apt-get, or without root and sudo, it names them and fails. When nothing is missing it does nothing.
set -euo pipefail

# Each command that is needed, and the Debian package that has it.
commands=(
    "make make"
    "python3 python3"
    "gcc build-essential"
    "strip binutils"
    "java default-jre-headless"
    "node nodejs"
    "npm npm"
    "curl curl"
    "jq jq"
    "openssl openssl"
)
[[ "${1:-}" != --browser ]] || commands+=("chromium chromium")
[[ "${1:-}" != --release ]] || commands+=("go golang-go" "javac default-jdk-headless")
[[ "${1:-}" != --bench ]] || commands+=("valgrind valgrind")

missing=()
for entry in "${commands[@]}"; do
    read -r command package <<<"$entry"
    command -v "$command" >/dev/null || missing+=("$package")
done
# A library that no command comes with: the upgrade test shifts the clock of functions with it.
compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
# Debian splits this part of Python's standard library off.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
((${#missing[@]})) || exit 0

fail() {
    echo "Missing Debian packages: ${missing[*]}" >&2
    echo "$1" >&2
    exit 1
}
command -v apt-get >/dev/null ||
    fail "apt-get is missing: install the same software with your package manager, then try again."
as_root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null ||
        fail "Installing them requires root, and sudo is missing: run \`apt-get install ${missing[*]}\` as root, then try again."
    as_root=(sudo)
fi

apt_get() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"
}
echo "Installing missing Debian packages${as_root[*]:+ with sudo}: ${missing[*]}"
apt_get update
apt_get install --no-install-recommends ca-certificates "${missing[@]}"
