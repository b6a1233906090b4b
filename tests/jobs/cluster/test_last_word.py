"""The line and the code of a driver whose Ray dies: after a death of Ray, and only then."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DRIVER = """
import os, signal, subprocess, sys, time
from jobs.cluster import last_word
raylet = subprocess.Popen([sys.argv[1], "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(raylet.pid, flush=True)
while not last_word.ray_processes(os.getpid()):
    time.sleep(.01)
with last_word.last_word():
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
        [sys.executable, "-c", textwrap.dedent(DRIVER).replace("{body}", body), str(program)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    with suppress(ProcessLookupError):
        os.kill(int(done.stdout.split()[0]), signal.SIGKILL)
    return done


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
    done = run(tmp_path, body)
    assert done.returncode == code
    assert done.stderr.startswith(said) if said else done.stderr == ""
    assert ("ended by itself" in done.stdout) == (code == 0)
