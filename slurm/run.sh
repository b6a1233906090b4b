#!/usr/bin/env bash
# Purpose        FinePseudo with a recipe of your own: one node with one GPU, more by --nodes and --gpus-per-node.
# Prerequisites  `make env` in this repository on a file system that all nodes share; the data and
#                weights of the recipe: `finepseudo check RECIPE` and `finepseudo doctor RECIPE` say what is missing.
# Usage          sbatch slurm/run.sh --recipe RECIPE [overrides]
#                sbatch slurm/run.sh --recipe dives.yaml
#                sbatch --gpus-per-node=0 slurm/run.sh --recipe dives.yaml resources.device=cpu
#                sbatch --array=0-2 slurm/run.sh --recipe dives.yaml     (a job for each label draw; the last one to end
#                writes the report, with mean and std over the draws)
#                bash slurm/run.sh --recipe dives.yaml --dry-run         (the plan, nothing is started)
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo run` takes.
#                Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again continues the run of the same --name.
#
#SBATCH --job-name=finepseudo
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
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

if [[ " $* " != *" --recipe"* ]]; then
  echo "run.sh: name a recipe: sbatch slurm/run.sh --recipe RECIPE" >&2
  exit 2
fi
run_job "" "$@"
