"""A process of Ray's is killed under a run: code 75 in one line. Lost nodes: tests/slurm/test_cluster.py."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LINE = ["--recipe", "smoke", "rounds=0", "methods=[supervised]"]


def environment():
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return clean | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def parents():
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return found


def victim(driver, name):
    """The process of that name among the descendants of a driver."""
    parent = parents()
    for process in parent:
        above = process
        while above in parent and above != driver.pid:
            above = parent[above]
        with suppress(OSError):
            if above == driver.pid and name in Path(f"/proc/{process}/cmdline").read_text():
                return process
    return None


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_train_controller_asks_for_another_run(tmp_path):
    command = [sys.executable, "-m", "jobs", "run", *LINE, f"out={tmp_path}", "action_stage.train.steps=4000"]
    command += ["action_stage.train.checkpoint_every=5"]
    driver = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 400
    while not list(tmp_path.glob("smoke/seed-0/**/step-*.pt")):
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.2)
    os.kill(victim(driver, "ray::TrainController"), signal.SIGKILL)
    _, said = driver.communicate(timeout=300)
    assert driver.returncode == 75, said
    assert "error: a part of the cluster was lost (" in said
    assert "Traceback" not in said
