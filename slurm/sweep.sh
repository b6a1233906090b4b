#!/usr/bin/env bash
# Purpose        a Ray Tune sweep over all nodes: each trial is a Ray Train run, ASHA stops the weak ones.
# Prerequisites  `make env CUDA=13` in this repository on a file system that all nodes share; the data of the recipe.
# Usage          sbatch slurm/sweep.sh [SPACE.yaml recipe and overrides]
#                sbatch slurm/sweep.sh tune_spaces/alignability.yaml --recipe diving48
#                bash slurm/sweep.sh tune_spaces/alignability.yaml --recipe smoke --dry-run
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo tune` takes; without
#                arguments it is the second line above, without --recipe it is diving48. Environment: see slurm/ray_job.sh.
# Stop and go on the same line again resumes: finished trials are not run twice, others go on from their checkpoints.
#
#SBATCH --job-name=sweep
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail

here=$(dirname "$0")  # Slurm runs a copy of this file from its own folder: then look where it came from
[ -f "$here/ray_job.sh" ] || here=${SLURM_SUBMIT_DIR:-.}/slurm
[ -f "$here/ray_job.sh" ] || here=$(dirname "$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p' | head -n1)")
# shellcheck source=slurm/ray_job.sh
. "$here/ray_job.sh"

if [ "$#" = 0 ] || [ "$*" = --dry-run ]; then set -- tune_spaces/alignability.yaml "$@"; fi
with_recipe diving48 "${@:2}"
ray_job --dashboard tune "$1" "${words[@]}"
