# shellcheck shell=bash
# Purpose        what every batch script here does: Ray on the nodes of the allocation, one `python -m jobs ...` on top.
# Prerequisites  a file system that all nodes share; Slurm's srun and scontrol on the nodes; `make env` done once.
# Usage          sourced by the batch scripts:  ray_job [--dashboard] COMMAND [ARGUMENT]...
#                With --dry-run among the arguments it starts nothing: it prints the directives, the command of the
#                job and what the command itself says to --dry-run. Then it needs no Slurm.
# Overrides      CLUSTER_DIR       shared folder for the cluster's small files (runs/.cluster)
#                CLUSTER_DEADLINE  seconds until all nodes must have joined (180)
#                OBJECT_STORE_MB   Ray's object store on a node (30 % of the granted memory)
#
# Preemption: USR1 (Slurm's warning before the time limit or a preemption) and TERM are passed on to the command, which
# writes a checkpoint and exits with 75. Only then, and not after `scancel`, the job is put back into the queue; it
# continues where it was, because every run does.

root=$(cd "$here/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}

forward() {  # srun hands USR1 to the tasks; TERM would make it end them
  stop=$1
  echo "ray_job: $1 received, asking the run to write a checkpoint and stop"
  kill -s USR1 "$step" 2>/dev/null || true
}

await_step() {  # a trapped signal interrupts `wait`: wait again for the real exit code
  while :; do
    local before=$stop
    code=0
    wait "$step" || code=$?
    [ "$code" -gt 128 ] && [ "$stop" != "$before" ] || break
  done
}

ray_job() {
  local options=(--folder "${CLUSTER_DIR:-$PWD/runs/.cluster}" --deadline "${CLUSTER_DEADLINE:-180}")
  [ -z "${OBJECT_STORE_MB:-}" ] || options+=(--object-store-mb "$OBJECT_STORE_MB")
  if [ "$1" = --dashboard ]; then options+=(--dashboard); shift; fi
  local argument dry="" arguments=()
  for argument; do
    if [ "$argument" = --dry-run ]; then dry=1; else arguments+=("$argument"); fi
  done
  local launch=(srun --ntasks-per-node=1 --kill-on-bad-exit=1 "$python" -m jobs.cluster "${options[@]}" --
    "$python" -m jobs "${arguments[@]}")
  if [ -n "$dry" ]; then
    echo "# batch script $(basename "$0"):"
    grep '^#SBATCH' "$0"
    printf '%q ' "${launch[@]}"
    printf '\n\n'
    exec "$python" -m jobs "${arguments[@]}" --dry-run
  fi
  if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "$0 is a batch script: sbatch $0 $*   (or: bash $0 --dry-run)" >&2
    exit 2
  fi
  echo "ray_job: job $SLURM_JOB_ID, restart ${SLURM_RESTART_COUNT:-0}: ${SLURM_JOB_NUM_NODES:-1} nodes" \
    "($SLURM_JOB_NODELIST), ${SLURM_CPUS_PER_TASK:-1} CPUs and ${SLURM_GPUS_PER_NODE:-0} GPUs each"
  export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # srun does not take it over from sbatch
  stop="" code=0
  trap 'forward USR1' USR1
  trap 'forward TERM' TERM
  "${launch[@]}" &
  step=$!
  await_step
  if [ "$code" = 75 ] && [ "$stop" != TERM ]; then
    echo "ray_job: stopped with everything saved, back into the queue"
    scontrol requeue "$SLURM_JOB_ID" || echo "ray_job: no requeue here; run the same command again to continue" >&2
  fi
  exit "$code"
}
