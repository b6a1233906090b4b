#!/usr/bin/env bash
# Purpose        a table or figure of the papers: all runs that it takes, one after the other on one Ray over all nodes, and
#                ours beside the published numbers.
# Prerequisites  `make env CUDA=13` in this repository on a file system that all nodes share; data, label lists and weights:
#                `finepseudo reproduce TABLE --dry-run` says what is missing, and how many hours it takes.
# Usage          sbatch slurm/reproduce.sh TABLE [options and overrides]
#                sbatch slurm/reproduce.sh table06 data.root=/data/diving48 frame_encoder.weights=byol:FILE action_encoder.weights=tclr:FILE
#                bash slurm/reproduce.sh table06 --synthetic --dry-run   (the plan, nothing is started)
#                Columns and rows that share no pre-training may go side by side, a job each; what another job has made
#                by then is taken by links, and who ends last has the whole table:
#                sbatch slurm/reproduce.sh table01 --only Diving48 [overrides]; sbatch slurm/reproduce.sh table01 --only Gym99 ..
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo reproduce` takes. GPUs are
#                all taken, however many (resources.workers is auto). Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again goes on with what is missing.
#
#SBATCH --job-name=reproduce
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

if [[ "${1:--}" == -* ]]; then
  echo "reproduce.sh: name a table first: sbatch slurm/reproduce.sh TABLE; \`finepseudo reproduce\` lists them" >&2
  exit 2
fi
with_runs "$@"
ray_job reproduce "${words[@]}"
