# shellcheck shell=bash
# Purpose        what every batch script here does: Ray on the nodes of the allocation, one `python -m jobs ...` on top.
# Prerequisites  a file system that all nodes share; Slurm's srun and scontrol on the nodes; `make env CUDA=13` done once.
# Usage          sourced by the batch scripts, which set `here` to this folder:
#                run_job RECIPE [ARGUMENT]...                    `finepseudo run`, of that recipe where none is named; as
#                                                                task i of an array the i-th label draw of `seeds`
#                ray_job [--dashboard] COMMAND [ARGUMENT]...     python -m jobs COMMAND ARGUMENT...
#                plain_job COMMAND [ARGUMENT]...                 the same without Ray
#                ray_run [--dashboard] PROGRAM [ARGUMENT]...     any program on Ray
#                With --dry-run among the arguments the jobs start nothing: they print the directives, the command of
#                the job and what the command itself says to --dry-run. Then they need no Slurm.
# Overrides      site.sh beside this file: what is particular to a site, see site.example.sh
#                CLUSTER_DIR       shared folder for the cluster's small files (runs/.cluster)
#                CLUSTER_DEADLINE  seconds until all nodes must have joined (180)
#                OBJECT_STORE_MB   Ray's object store on a node (30 % of the granted memory)
#
# Preemption: USR1 (Slurm's warning before the time limit or a preemption) and TERM are passed on to the program, which
# writes a checkpoint and exits with 75. Only then, and not after `scancel`, the job is put back into the queue; it
# continues where it was, because every run does. A lost node ends the same way. After three restarts in a row without a
# step on disk the job fails and says so.

root=$(cd "${here:?set by the script that sources this file}/.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
if [ -f "$here/site.sh" ]; then
  set +eu  # `module` and its like stop at neither
  # shellcheck source=slurm/site.example.sh
  . "$here/site.sh"
  set -eu
fi

run_job() {
  with_recipe "$@"
  [ -z "${SLURM_ARRAY_TASK_ID:-}" ] || words+=(--draw "$SLURM_ARRAY_TASK_ID")
  ray_job run "${words[@]}"
}

with_recipe() {  # into `words`: the arguments, the recipe where none is named, the site's folder of runs where it has one
  with_runs "${@:2}"
  [[ " ${words[*]} " == *" --recipe"* ]] || words=(--recipe "$1" "${words[@]}")
}

with_runs() {  # into `words`: the arguments, the site's folder of runs where it has one
  words=("$@")
  if [ -n "${RUNS_DIR:-}" ] && [[ " ${words[*]} " != *" out="* ]]; then words+=("out=$RUNS_DIR"); fi
}

ray_job() {
  if [ "$1" = --dashboard ]; then shift; compose --dashboard "$python" -m jobs "$@"; else compose "$python" -m jobs "$@"; fi
  plan_or_start "$@"
}

ray_run() {
  compose "$@"
  start
}

plain_job() {
  launch=(srun --ntasks=1 "$python" -m jobs "$@")
  plan_or_start "$@"
}

plan_or_start() {
  [[ " $* " == *" --dry-run "* ]] || start
  echo "# $(basename "$0") as a batch job:"
  grep '^#SBATCH' "$0"
  local word line=""
  for word in "${launch[@]}"; do
    [ "$word" = --dry-run ] || line+=$(printf ' %q' "$word")
  done
  printf '%s\n\n' "${line# }"
  exec "$python" -m jobs "$@"
}

start() {
  if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "$0 is a batch script: submit it with sbatch, or see the plan with --dry-run" >&2
    exit 2
  fi
  echo "ray_job: job $SLURM_JOB_ID, restart ${SLURM_RESTART_COUNT:-0}: ${SLURM_JOB_NUM_NODES:-1} nodes" \
    "($SLURM_JOB_NODELIST), ${SLURM_CPUS_PER_TASK:-1} CPUs and ${SLURM_GPUS_PER_NODE:-0} GPUs each"
  export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # srun does not take it over from sbatch
  stop="" signals=0 code=0
  trap 'forward USR1' USR1
  trap 'forward TERM' TERM
  "${launch[@]}" &
  step=$!
  await_step
  [ "$code" != 138 ] || code=75  # USR1 came before the program listened: it had begun nothing
  if [ "$code" -gt 128 ] && [ -z "$stop" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then
    echo "ray_job: the step was killed (code $code)"
    code=75
  fi
  if [ "$code" = 75 ] && [ "$stop" != TERM ]; then
    echo "ray_job: everything done so far is on disk, back into the queue"
    scontrol requeue "$SLURM_JOB_ID" || echo "ray_job: no requeue here; run the same command again to continue" >&2
  fi
  exit "$code"
}

compose() {  # the one job step, in `launch`
  local options=(--folder "${CLUSTER_DIR:-${RUNS_DIR:-$PWD/runs}/.cluster}" --deadline "${CLUSTER_DEADLINE:-180}")
  [ -z "${OBJECT_STORE_MB:-}" ] || options+=(--object-store-mb "$OBJECT_STORE_MB")
  if [ "$1" = --dashboard ]; then options+=(--dashboard); shift; fi
  # srun ends no task: the first one notices a lost node by itself, and srun's TERM would look like a request to stop
  launch=(srun --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 "$python" -m jobs.cluster "${options[@]}" -- "$@")
}

forward() {  # always as USR1: srun itself would end the tasks on TERM
  stop=$1 signals=$((signals + 1))
  echo "ray_job: $1 received, asking the program to write a checkpoint and stop"
  kill -s USR1 "$step" 2>/dev/null || true
}

await_step() {  # a trapped signal interrupts `wait`: then wait again for the real exit code
  local before
  while :; do
    before=$signals code=0
    wait "$step" || code=$?
    if [ "$code" -le 128 ] || [ "$signals" = "$before" ]; then break; fi
  done
}
