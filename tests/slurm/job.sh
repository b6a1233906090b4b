#!/usr/bin/env bash
# A batch job of the tests: any program on a Ray of the allocation, with the same common file as the real scripts.
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=10
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
set -euo pipefail
here=$FP_ROOT/slurm
# shellcheck source=slurm/ray_job.sh
. "$here/ray_job.sh"
ray_run "$python" "$@"
