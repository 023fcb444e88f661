#!/usr/bin/env bash
# Installs the Debian packages that everything else here needs and this machine lacks. Needs root, or sudo.
set -euo pipefail
cd "$(dirname "$0")"

apt_get() {
    local sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"
}

if ! command -v apt-get >/dev/null; then
    echo "system-packages: no apt-get here; install what these Debian packages hold with your own package manager:" >&2
    python3 install_tools.py --missing >&2
    exit 1
fi
if ! command -v python3 >/dev/null; then
    apt_get update
    apt_get install --no-install-recommends python3
fi
read -r -a packages < <(python3 install_tools.py --missing)
if ((${#packages[@]} == 0)); then
    echo "Nothing is missing."
    exit
fi
echo "Installing ${packages[*]}"
apt_get update
apt_get install --no-install-recommends ca-certificates "${packages[@]}"
