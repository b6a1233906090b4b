#!/usr/bin/env bash
# Lays out what pack.sh packed: bash tests/gpu/unpack.sh FOLDER SITE. All parts must have arrived.
set -euo pipefail
folder=$1 site=$2
(cd "$folder" && sha256sum --check --quiet SHA256)
mkdir -p "$site"
cat "$folder"/site.tar.xz.* | tar -xJf - -C "$site"
