#!/usr/bin/env bash
# Purpose        FinePseudo on Mini-Something-Something V2, 87 classes: the same stages, 93,000 videos.
# Prerequisites  `make env` in this repository on a file system that all nodes share; videos, annotations and
#                the 87-class lists: `finepseudo check ssv2 data.root=DIR` says what is missing. Shards written before by
#                slurm/write_shards.sh save GPU hours.
# Usage          sbatch slurm/run_ssv2.sh [recipe and overrides]
#                sbatch slurm/run_ssv2.sh data.root=/data/ssv2
#                sbatch --array=0-2 slurm/run_ssv2.sh data.root=/data/ssv2   (a job for each label draw; the last one to
#                end writes the report, with mean and std over the draws)
#                bash slurm/run_ssv2.sh --dry-run    (the plan, nothing is started)
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo run` takes; without
#                --recipe it is ssv2. Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again continues the run of the same --name.
#
#SBATCH --job-name=ssv2
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=48:00:00
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

run_job ssv2 "$@"
