"""The folder of a Ray on its node: private, held while its maker lives, removed when that is gone, however it went."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.cluster.temp_folder import private_folder, ray_folder

REPOSITORY = Path(__file__).parents[3]
DRIVER = """
from jobs.cluster.temp_folder import private_folder
with private_folder() as folder:
    print(folder, flush=True)
    input()
"""
RAY = """
import os, sys
from jobs.cluster.session import ray_session
with ray_session():
    print(os.environ["RAY_AUTH_TOKEN_PATH"], flush=True)
    input()
"""
SECOND = """
import os
from jobs.cluster.temp_folder import private_folder
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with private_folder() as folder:
    print(folder, flush=True)
    input()
"""
INTRUDER = """
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
made = []
for folder, _, names in os.walk(sys.argv[1]):
    for name in [*names, "new"]:
        try:
            open(os.path.join(folder, name), "a").close()
            made.append(os.path.join(folder, name))
        except OSError:
            pass
print(made)
"""


@contextmanager
def driver(program=DRIVER):
    command = [sys.executable, "-c", program]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, Path(process.stdout.readline().strip())
        process.stdin.close()


def test_only_what_killed_processes_left_is_removed():
    with (
        driver() as (_, living),
        driver() as (process, killed),
        tempfile.TemporaryDirectory(prefix="fp-", dir="/tmp") as foreign,
    ):
        with private_folder() as ours:
            assert all(folder.is_dir() for folder in (ours, living, killed))
        assert not ours.exists()
        process.kill()
        process.wait()
        assert killed.exists()
        line = [sys.executable, "-c", "import time; time.sleep(60)"]
        with (killed / "log").open("w") as log, (living / "log").open("w") as other:
            orphan, used = subprocess.Popen(line, stdout=log), subprocess.Popen(line, stdout=other)
        with private_folder():
            assert not killed.exists()
            assert living.exists()
            assert Path(foreign).exists()
        assert orphan.wait(10) == -signal.SIGKILL, "a worker of the killed one would write on"
        assert used.poll() is None
        used.kill()
        used.wait()


def test_the_folder_is_ours_alone_and_short_with_a_jobs_name_in_it():
    with private_folder("12345678.0.99-") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        longest = ray_folder(folder) / "session_2026-11-26_19-23-40_492632_1234567" / "sockets" / "plasma_store.1"
        assert len(str(longest)) < 107
    with private_folder("12345678.0.99-") as other:
        assert other != folder


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a second user")
def test_two_users_on_one_node_leave_each_others_folders_alone():
    """What one left after a kill is removed by its next start, and by nobody else's."""
    with driver() as (process, killed), driver(SECOND) as (second, theirs):
        process.kill()
        process.wait()
        assert (theirs.stat().st_uid, theirs.stat().st_mode & 0o777) == (65534, 0o700)
        second.kill()
        second.wait()
        with driver(SECOND) as (_, again):
            assert again != theirs and not theirs.exists()
            assert killed.exists(), "the second user has started once more"
        with driver(SECOND) as (last, left):
            last.kill()
            last.wait()
            with private_folder():
                assert not killed.exists()
                assert left.exists()
    with driver(SECOND) as (_, again):
        assert again.exists() and not left.exists()


def intrude(folder):
    line = [sys.executable, "-c", INTRUDER, str(folder)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a second user")
def test_another_user_cannot_write_into_the_folder_of_a_live_ray():
    with driver(RAY) as (_, token):
        folder = token.parent
        assert ray_folder(folder).stat().st_mode & 0o777 == 0o777, "what Ray does to the folder it is given"
        assert (ray_folder(folder) / "session_latest" / "sockets").is_dir()
        assert token.stat().st_mode & 0o777 == 0o600
        assert intrude(folder) == "[]"
