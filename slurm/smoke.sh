#!/usr/bin/env bash
# Purpose        the whole way in some minutes, on synthetic dives and without a GPU: does this cluster run FinePseudo?
# Prerequisites  `make env` in this repository on a file system that all nodes share; no data,
#                no weights.
# Usage          sbatch slurm/smoke.sh [overrides]
#                sbatch --nodes=2 slurm/smoke.sh resources.workers=2    (over two nodes)
#                sbatch --array=0-1 slurm/smoke.sh seeds=[0,1]          (a job for each label draw)
#                bash slurm/smoke.sh --dry-run                          (the plan, nothing is started)
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo run` takes; without
#                --recipe it is smoke. Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again continues the run of the same --name.
#
#SBATCH --job-name=smoke
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=00:30:00
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

run_job smoke "$@"
