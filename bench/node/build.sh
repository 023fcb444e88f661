#!/usr/bin/env bash
# Bundles the authorizer in Node.js as the SAM CLI would: the SDK's modules one by one start twice as slow.
set -euo pipefail
cd "$(dirname "$0")"
folder=../../.local/bench/node
mkdir -p "$folder"
cp authorizer.mjs package.json package-lock.json "$folder"
cd "$folder"
npm ci --silent --ignore-scripts
npx --no-install esbuild authorizer.mjs --log-level=warning --bundle --minify --platform=node --target=node20 --format=cjs \
    --outfile=authorizer.cjs
