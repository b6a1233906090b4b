#!/usr/bin/env bash
# Purpose        FinePseudo on Diving48, from the videos to the report: one Ray over all nodes, every stage.
# Prerequisites  `make env CUDA=13` in this repository on a file system that all nodes share; Diving48 V2 (annotation files and
#                the rgb folder of videos): `finepseudo check diving48 data.root=DIR` says what is missing.
# Usage          sbatch slurm/run_diving48.sh [recipe and overrides]
#                sbatch slurm/run_diving48.sh data.root=/data/diving48 split.ratio=0.05
#                sbatch --nodes=1 --gpus-per-node=8 --partition=gpu slurm/run_diving48.sh
#                sbatch --array=0-2 slurm/run_diving48.sh data.root=/data/diving48     (a job for each label draw; the
#                last one to end writes the report, with mean and std over the draws)
#                bash slurm/run_diving48.sh --dry-run      (the plan, nothing is started)
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo run` takes; without
#                --recipe it is diving48. Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again continues the run of the same --name.
#
#SBATCH --job-name=diving48
#SBATCH --nodes=2
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

run_job diving48 "$@"
