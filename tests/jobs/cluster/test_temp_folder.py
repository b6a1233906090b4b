"""The folder of a local Ray: private, held while its driver lives, removed when that is gone, however it went."""

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from jobs.cluster.temp_folder import ray_folder

REPOSITORY = Path(__file__).parents[3]
DRIVER = """
from jobs.cluster.temp_folder import ray_folder
with ray_folder() as folder:
    print(folder, flush=True)
    input()
"""


@contextmanager
def driver():
    command = [sys.executable, "-c", DRIVER]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process, Path(process.stdout.readline().strip())
        process.stdin.close()


def test_only_what_killed_drivers_left_is_removed():
    with (
        driver() as (_, living),
        driver() as (process, killed),
        tempfile.TemporaryDirectory(prefix="fp-", dir="/tmp") as foreign,
    ):
        with ray_folder() as ours:
            assert all((folder / "token").is_file() for folder in (ours, living, killed))
        assert not ours.exists()
        process.kill()
        process.wait()
        assert killed.exists()
        with ray_folder():
            assert not killed.exists()
            assert living.exists()
            assert Path(foreign).exists()


def test_nobody_else_reads_the_token():
    with ray_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
        assert len((folder / "token").read_text()) >= 32
    with ray_folder() as other:
        assert other != folder
