# shellcheck shell=bash
# Purpose        what is particular to a site, in one place: copy this file to slurm/site.sh, which git ignores, and edit.
# Usage          every batch script here reads slurm/site.sh when its job starts, and `finepseudo submit` before it
#                submits. Before an `sbatch` of your own: `. slurm/site.sh`, once in a shell. The variables of the first
#                block are Slurm's: options of the command line win over them, they win over the directives.

# every job
export SBATCH_ACCOUNT=mylab
export SBATCH_PARTITION=gpu

# jobs without a GPU that `finepseudo submit` makes (shards, manifest); without it they go where the others go
export CPU_PARTITION=cpu

# where run folders are, on a file system that all nodes share: `out` where a command line names none
export RUNS_DIR=/scratch/$USER/finepseudo

# what the nodes need first
# module load cuda/12.4
