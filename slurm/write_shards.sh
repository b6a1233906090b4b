#!/usr/bin/env bash
# Purpose        write the shards of a data set with a Slurm array, without Ray and without GPUs: task i of n decodes
#                and writes shards i, i + n, ... Worth it from some ten thousand videos on; smaller sets are written by
#                the run itself.
# Prerequisites  `make env CUDA=13` in this repository on a file system that all nodes share; annotations and videos.
# Usage          sbatch slurm/write_shards.sh [recipe and overrides]
#                sbatch --array=0-63 slurm/write_shards.sh --recipe kinetics400 data.root=/data/kinetics400
#                bash slurm/write_shards.sh --recipe kinetics400 data.root=/data/kinetics400 --dry-run
#                Give it the --recipe, --name and overrides of the run: that run then finds the shards and ends the work
#                (manifest, quarantine) by itself.
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo write-shards` takes;
#                without --recipe it is kinetics400.
# Stop and go on a task that is preempted ends after the shard in work, is put back into the queue and goes on there.
#
#SBATCH --job-name=write-shards
#SBATCH --array=0-15
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --time=12:00:00
#SBATCH --output=%x-%A_%a.log
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail

here=$(dirname "$0")  # Slurm runs a copy of this file from its own folder: then look where it came from
[ -f "$here/ray_job.sh" ] || here=${SLURM_SUBMIT_DIR:-.}/slurm
[ -f "$here/ray_job.sh" ] || here=$(dirname "$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p' | head -n1)")
# shellcheck source=slurm/ray_job.sh
. "$here/ray_job.sh"

with_recipe kinetics400 "$@"
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-4}
plain_job write-shards --part "${SLURM_ARRAY_TASK_ID:-0}/${SLURM_ARRAY_TASK_COUNT:-1}" "${words[@]}"
