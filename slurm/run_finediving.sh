#!/usr/bin/env bash
# Purpose        FinePseudo on FineDiving, 52 action types: the same stages as run_diving48.sh, 3,000 dives.
# Prerequisites  `make env` in this repository on a file system that all nodes share; annotations and videos:
#                `finepseudo check finediving data.root=DIR` says what is missing.
# Usage          sbatch slurm/run_finediving.sh [recipe and overrides]
#                sbatch slurm/run_finediving.sh data.root=/data/finediving split.ratio=0.2
#                sbatch --array=0-2 slurm/run_finediving.sh data.root=/data/finediving   (a job for each label draw; the
#                last one to end writes the report, with mean and std over the draws)
#                bash slurm/run_finediving.sh --dry-run    (the plan, nothing is started)
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo run` takes; without
#                --recipe it is finediving. Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again continues the run of the same --name.
#
#SBATCH --job-name=finediving
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
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

run_job finediving "$@"
