"""The line and the code of a driver whose Ray dies: after a death of Ray, and only then."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.cluster.preempt import EXIT_CODE

ROOT = Path(__file__).parents[3]
DRIVER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from jobs.cluster import last_word
raylet = subprocess.Popen([sys.argv[1], "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(raylet.pid, flush=True)
folder = Path(sys.argv[1]).parent
line = [sys.argv[2], "-c", "import time; time.sleep(60)"]
worker = subprocess.Popen(line, stdout=(folder / "log").open("w"), stderr=subprocess.DEVNULL)
print(worker.pid, flush=True)
reader = subprocess.Popen(["tail", "-f", folder / "log"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(reader.pid, flush=True)
while not last_word.ray_processes(os.getpid()):
    time.sleep(.01)
with last_word.last_word(folder):
    {body}
raylet.kill()
raylet.wait()
print("ended by itself")
"""
KILL_RAY, KILL_DRIVER = "raylet.kill(); time.sleep(50)", "os.kill(os.getpid(), signal.SIGKILL)"


def run(tmp_path, body):
    program = tmp_path / "raylet" / "raylet"
    program.parent.mkdir()
    program.symlink_to("/bin/sleep")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVER).replace("{body}", body), str(program), sys.executable],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    raylet, worker, reader = map(int, done.stdout.split()[:3])
    end = time.monotonic() + (20 if done.returncode == EXIT_CODE else 0)
    while (left := lives(worker)) and time.monotonic() < end:
        time.sleep(0.01)
    assert lives(reader), "who looks at a log is none of Ray's"
    for process in (raylet, worker, reader):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return done, left


def lives(process):
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize(
    ("body", "said", "code"),
    [
        (
            KILL_RAY,
            "error: Ray ended on this machine (raylet is gone); everything done so far is on disk; the same",
            75,
        ),
        (KILL_DRIVER, "", -signal.SIGKILL),
        ("pass", "", 0),
    ],
)
def test_a_driver_ends_in_a_line_when_its_ray_does(tmp_path, body, said, code):
    done, left = run(tmp_path, body)
    assert done.returncode == code
    assert left == (code != 75)  # who had a file of the folder open goes with a dead Ray
    assert done.stderr.startswith(said) if said else done.stderr == ""
    assert ("ended by itself" in done.stdout) == (code == 0)
