"""Program of a test job: count to a number in a file, one line a step; stop between two steps when asked to."""

import os
import sys
import time
from pathlib import Path

from jobs.cluster import preempt

run, steps = Path(sys.argv[1]), int(sys.argv[2])
preempt.clear(run)
preempt.install(run)
lines = run / "steps.txt"
start = len(lines.read_text().splitlines()) if lines.exists() else 0
print(f"restart {os.environ.get('SLURM_RESTART_COUNT', '0')} continues at {start}", flush=True)
for step in range(start, steps):
    if preempt.requested(run):
        sys.exit(preempt.EXIT_CODE)
    with lines.open("a") as file:
        file.write(f"{step}\n")
    time.sleep(0.2)
