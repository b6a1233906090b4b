"""A real Slurm of two nodes on this machine (slurmlab.sh), as an object for the tests."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOT = Path("/tmp/fp-slurmlab")
SCRIPT = Path(__file__).with_name("slurmlab.sh")
TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "ip", "nsenter", "unshare", "pgrep")
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
IDLE = ("unshare", "bash", "slurmd")
"""What runs on a node of the lab that has nothing to do."""


def quiet(*command: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit code; keep what it prints."""
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, **options)


def plain_environment() -> dict[str, str]:
    """The environment without what a Ray of this process has left in it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def unusable() -> str | None:
    """Say why no lab can be started here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    os.environ["PATH"] += f":{SYSTEM_PATH}" if SYSTEM_PATH not in os.environ["PATH"] else ""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(missing)} (make system)"
    probe = quiet("ip", "link", "add", "fpprobe", "type", "bridge")
    quiet("ip", "link", "del", "fpprobe")
    return f"cannot make a network bridge: {probe.stderr.strip()}" if probe.returncode else None


@contextmanager
def running() -> Iterator["Lab"]:
    """Start the lab, stop it whatever happens; one lab at a time on a machine."""
    lock = os.open("/tmp/fp-slurmlab.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    environment = {**os.environ, "ROOT": str(ROOT)}
    try:
        quiet(SCRIPT, "stop", env=environment)  # of a run that was killed
        shutil.rmtree(ROOT, ignore_errors=True)
        started = quiet(SCRIPT, "start", "2", env=environment)
        assert started.returncode == 0, f"the lab does not start:\n{started.stdout}{started.stderr}"
        yield Lab()
    finally:
        quiet(SCRIPT, "stop", env=environment)
        shutil.rmtree(ROOT, ignore_errors=True)
        os.close(lock)


class Lab:
    """Submit jobs and look at them."""

    nodes = ("n1", "n2")

    def __init__(self) -> None:
        # the batch scripts use `python` of the PATH where the repository has no .venv
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**plain_environment(), "SLURM_CONF": f"{ROOT}/etc/slurm.conf", "PATH": path}
        self.environment["OBJECT_STORE_MB"] = "100"
        # Ray starts as many idle workers as a node has CPUs; two cores carry all of them here
        self.environment["RAY_prestart_worker_first_driver"] = "0"

    def command(self, *arguments: str, check: bool = True) -> str:
        """Run one of Slurm's commands; return what it prints."""
        done = quiet(*arguments, env=self.environment)
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout.strip()

    def submit(self, script: Path, *arguments: str, options: Sequence[str] = (), cwd: Path, **variables: str) -> str:
        """Submit a batch script as a user would; return the job's number. The output goes to <cwd>/out.<job>."""
        line = ["sbatch", "--parsable", "--output=out.%j", *options, str(script), *arguments]
        done = quiet(*line, env={**self.environment, **variables}, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str) -> dict[str, str]:
        """What the controller knows about a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.command("scontrol", "show", "job", "-o", job)))

    def state(self, job: str) -> str:
        return self.show(job)["JobState"]

    def until(self, condition: Callable[[], bool], seconds: float, what: Callable[[], str] | str) -> None:
        """Poll until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not in {seconds} s: {what() if callable(what) else what}"
            time.sleep(0.3)

    def finish(self, job: str, cwd: Path, seconds: float = 240) -> tuple[str, int, str]:
        """Wait for the end of a job; return its state, exit code and output."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
        self.until(lambda: self.state(job) in ended, seconds, lambda: f"{self.show(job)}\n{self.output(job, cwd)}")
        self.until(lambda: not self.command("squeue", "-h", "-t", "completing"), 60, "job still completing")
        shown = self.show(job)
        return shown["JobState"], int(shown["ExitCode"].split(":")[0]), self.output(job, cwd)

    def output(self, job: str, cwd: Path) -> str:
        path = cwd / f"out.{job}"
        return path.read_text() if path.exists() else ""

    def _running(self) -> Iterator[tuple[str, int, str]]:
        """Node, process and command line of everything on the nodes."""
        for node in self.nodes:
            for pid in quiet("ip", "netns", "pids", f"slab-{node}").stdout.split():
                with suppress(FileNotFoundError, ProcessLookupError):
                    line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
                    if line:
                        yield node, int(pid), line

    def processes(self) -> list[str]:
        """Command lines on the nodes that are not the node's own."""
        return [
            f"{node}: {line}"
            for node, _, line in self._running()
            if Path(line.split()[0]).name not in IDLE and not line.startswith("slurmstepd")
        ]

    def kill(self, node: str, name: str) -> None:
        """Kill -9 the processes of a node that have `name` in their command line."""
        found = [pid for on, pid, line in self._running() if on == node and name in line and "srun" not in line]
        assert found, self.processes()
        for pid in found:
            os.kill(pid, signal.SIGKILL)

    @contextmanager
    def broken(self, node: str, program: Path) -> Iterator[None]:
        """Make a program fail on one node, by a mount that only that node sees."""
        (slurmd,) = [pid for on, pid, line in self._running() if on == node and line.startswith("slurmd")]
        # umount reads /proc/self, which the node's /proc only has for processes of the node's own namespace
        inside = ("nsenter", f"--target={slurmd}", "--mount", "--pid")
        done = quiet(*inside, "mount", "--bind", shutil.which("false") or "/bin/false", program)
        assert done.returncode == 0, done.stderr
        try:
            yield
        finally:
            done = quiet(*inside, "umount", program)
            assert done.returncode == 0, done.stderr  # else every later test finds the node broken

    def assert_clean(self, job: str) -> None:
        """Nothing of a job that has ended may stay on the nodes."""
        self.until(lambda: not self.processes(), 20, lambda: f"still there: {self.processes()}")
        assert not list(Path("/tmp").glob(f"*fpray-{job}.*"))
