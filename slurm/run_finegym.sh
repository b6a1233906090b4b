#!/usr/bin/env bash
# Purpose        FinePseudo on FineGym: Gym99, Gym288 or a subset of them, by the first argument.
# Prerequisites  `make env` in this repository on a file system that all nodes share; annotations and videos:
#                `finepseudo check finegym99 data.root=DIR` says what is missing.
# Usage          sbatch slurm/run_finegym.sh [99|288|VT|FX|BB|UB|UB_S1|FX_S1|Gym_new] [recipe and overrides]
#                sbatch slurm/run_finegym.sh 288 data.root=/data/finegym
#                sbatch --array=0-2 slurm/run_finegym.sh FX_S1 data.root=/data/finegym   (a job for each label draw; the
#                last one to end writes the report, with mean and std over the draws)
#                bash slurm/run_finegym.sh 99 --dry-run    (the plan, nothing is started)
#                A subset takes as many steps as the whole: fewer are frame_stage.self_train.steps=.. and action_stage's.
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo run` takes; without
#                --recipe it is finegym99 or finegym288. Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again continues the run of the same --name.
#
#SBATCH --job-name=finegym
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
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

case "${1:-}" in
  99 | 288) recipe=finegym$1 && shift ;;
  VT | FX | BB | UB | UB_S1 | FX_S1) recipe=finegym99 && set -- --name "finegym-$1" "data.subset=$1" "${@:2}" ;;
  Gym_new) recipe=finegym288 && set -- --name "finegym-$1" "data.subset=$1" "${@:2}" ;;
  *) recipe=finegym99 ;;
esac
run_job "$recipe" "$@"
