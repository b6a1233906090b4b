"""`python -m jobs.cluster`: see `jobs.cluster.slurm_cluster`."""

import os
import sys

from jobs.cluster.slurm_cluster import main

if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    os._exit(exit_code)  # at once, with our handlers in place: a stop signal must not change the code any more
