#!/usr/bin/env bash
# Purpose        compare methods over seeds with a Slurm array, one task a method and seed; who ends last writes the table.
#                What the methods of a seed share is made once, by the task of that seed that starts first.
# Prerequisites  `make env CUDA=13` in this repository on a file system that all nodes share; the data of the recipe; shards
#                written before by slurm/write_shards.sh save GPU hours.
# Usage          sbatch slurm/compare.sh [recipe, methods, seeds and overrides]
#                sbatch --array=0-11 slurm/compare.sh --recipe diving48_uniform --methods supervised,fixmatch,sefar,finepseudo --seeds 0,1,2
#                bash slurm/compare.sh --methods supervised,sefar --seeds 0,1 --dry-run      (the plan, nothing is started)
#                With fewer tasks than methods x seeds each takes several (as many as seeds: a seed each, and none waits for
#                another); tasks beyond them end at once. While one makes what the methods of a seed share, the others of
#                that seed wait with their GPUs. With --shared a task a seed makes that before:
#                job=$(sbatch --parsable --array=0-2 slurm/compare.sh --shared --recipe R --methods M --seeds 0,1,2)
#                sbatch --dependency=afterok:$job --array=0-11 slurm/compare.sh --recipe R --methods M --seeds 0,1,2
#                Where a budget in epochs gives a method the steps that others come to (action_stage.self_train.epochs), its
#                task ends where they have not come to them, and the last of these others goes on with it.
# Overrides      before the script: every directive below. Behind it: everything that `finepseudo compare` takes; without
#                --recipe it is diving48, without --methods and --seeds they are the recipe's. Environment: see
#                slurm/ray_job.sh.
# Stop and go on a task that is preempted or reaches its time limit writes a checkpoint and is requeued. Submitting the
#                same line again goes on with what is missing. `finepseudo compare runs/NAME` shows what is there meanwhile.
#
#SBATCH --job-name=compare
#SBATCH --array=0-15
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=24:00:00
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

[[ " $* " == *" --recipe"* ]] || set -- --recipe diving48 "$@"
ray_job compare --part "${SLURM_ARRAY_TASK_ID:-0}/${SLURM_ARRAY_TASK_COUNT:-1}" "$@"
