#!/usr/bin/env bash
# Installs what the Slurm and browser tests need, on Debian or Ubuntu, as root. Elsewhere it says what is missing and
# goes on: those tests then skip with the reason (with CI=true they fail instead).
set -euo pipefail
declare -A package=([munged]=munge [slurmctld]=slurmctld [slurmd]=slurmd [sbatch]=slurm-client [ip]=iproute2
  [chromium]=chromium [chromedriver]=chromium-driver [nsenter]=util-linux [pgrep]=procps [g++]=g++ [shellcheck]=shellcheck)
missing=()
for tool in "${!package[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed (needs root and apt-get): ${missing[*]}; the tests that use them skip" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
