#!/usr/bin/env bash
# Installs Lambda's runtime interface client and the SDK, as locked, and compiles what would be compiled at the first start.
set -euo pipefail
cd "$(dirname "$0")"
folder=../../.local/bench/python
[[ -x $folder/bin/python ]] || python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements.txt
"$folder/bin/python" -m compileall -q "$folder/lib" || true
