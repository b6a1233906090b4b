"""`python -m jobs.cluster`: see `jobs.cluster.slurm_cluster`."""

import os
import sys

from jobs.cluster.slurm_cluster import main

if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # At once, with our handlers in place: a task that is still tidying up when another one ends with a code would be
    # ended by srun --kill-on-bad-exit, and the job would end with that task's 143 instead of the command's code.
    os._exit(exit_code)
