#!/usr/bin/env bash
# Purpose        FinePseudo on Kinetics-400: the same stages as run_diving48.sh, sized for 240,000 videos.
# Prerequisites  `make env CUDA=13` in this repository on a file system that all nodes share; the videos and the annotation
#                lists; shards written before by slurm/write_shards.sh save GPU hours.
# Usage          bash slurm/run_kinetics400.sh --dry-run      (stages, resources, batch script; checks what it can)
#                sbatch slurm/run_kinetics400.sh data.root=/data/kinetics400
#                sbatch --nodes=16 slurm/run_kinetics400.sh data.root=/data/kinetics400
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo run` takes; without
#                --recipe it is kinetics400. Environment: see slurm/ray_job.sh.
# Stop and go on scancel --batch --signal=USR1 JOB writes a checkpoint and requeues; preemption and the time limit do
#                the same. Submitting the same line again continues the run of the same --name.
#
#SBATCH --job-name=kinetics400
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
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

run_job kinetics400 "$@"
