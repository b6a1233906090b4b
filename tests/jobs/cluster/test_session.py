"""What a task refuses reaches the user as it was said, not as Ray's trace."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cluster.preempt import Lost
from jobs.cluster.session import LOCAL_CPUS, _plain_refusals, local_cpus, ray_session
from jobs.workers.map_parts import Pool, Work, map_parts
from shards.errors import UserError
from shards.files import atomic


class Wrapped(Exception):
    """As Ray wraps: the error of the task as `cause`."""

    def __init__(self, cause):
        super().__init__(f"Traceback of\n{cause}")
        self.cause = cause


class WrappedRefusal(Wrapped, UserError):
    """Ray's wrapper is also an instance of what it wraps."""


def chained(outer, inner):
    outer.__cause__ = inner
    return outer


REFUSAL = UserError("cannot write x: no space is left")


@pytest.mark.parametrize(
    "raised", [REFUSAL, WrappedRefusal(REFUSAL), chained(RuntimeError("job failed"), WrappedRefusal(REFUSAL))]
)
def test_a_refusal_is_found_inside(raised):
    with pytest.raises(UserError) as caught, _plain_refusals():
        raise raised
    assert caught.value is REFUSAL


@pytest.mark.parametrize("raised", [ValueError("a fault"), Wrapped(ValueError("a fault")), KeyboardInterrupt()])
def test_other_errors_stay_as_they_are(raised):
    with pytest.raises(type(raised)) as caught, _plain_refusals():
        raise raised
    assert caught.value is raised


@pytest.mark.parametrize(("granted", "count"), [("24", 24), ("1", LOCAL_CPUS), (None, 9)])
def test_a_local_ray_takes_the_cpus_it_was_given(granted, count, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(9)))
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    if granted:
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", granted)
    assert local_cpus() == count


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("how", ["task", "actor", "row"])
def test_a_full_disk_in_a_worker_is_one_line(ray_cluster, tmp_path, how):
    import ray

    def write():
        with atomic(tmp_path / "table"):
            raise OSError(errno.ENOSPC, "No space left on device")

    class Writer:
        def __init__(self, told, pool):
            if told == "actor":
                write()

        def __call__(self, row):
            if row["part"] == "2":
                write()
            return {"part": row["part"], "clips": 1}

    def run():
        if how == "task":
            ray.get(ray.remote(write).remote())
        work = Work(
            worker=Writer,
            told=how,
            run=tmp_path,
            folder=tmp_path / "parts",
            pool=Pool(actors=1, cpus=1, gpu=False),
            timeout_s=60,
        )
        map_parts(work, [{"part": str(number)} for number in range(4)], lambda *_: None)

    with pytest.raises(UserError) as caught, ray_session():
        run()
    assert (
        str(caught.value) == f"cannot write {tmp_path / 'table'}: no space is left on the disk; free some or choose "
        "another folder"
    )


def run_alone(program, folder):
    """Run a program in a process of its own that has no Ray yet."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        check=False,
        capture_output=True,
        text=True,
        env={**clean, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


@pytest.mark.ray
@pytest.mark.slow
def test_after_a_stop_no_thread_of_ray_data_starts_a_ray_of_its_own_and_the_process_may(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; run = Path(sys.argv[1])\n"
        "from jobs.cluster.preempt import Preempted; from jobs.cluster.session import ray_session\n"
        "from jobs.workers.map_parts import stream\n"
        "def slow(row): time.sleep(1); return row\n"
        "def job():\n"
        "    rows = [{'part': str(number)} for number in range(40)]\n"
        "    yield from ray.data.from_items(rows, override_num_blocks=40).map(slow).iter_rows()\n"
        "with ray_session():\n"
        "    import ray\n"
        "    try:\n"
        "        for _ in stream(job, 300, run): (run / 'STOP').write_text('stop\\n')\n"
        "    except Preempted: print('stopped')\n"
        "for _ in range(40): time.sleep(0.25); assert not ray.is_initialized()\n"
        "with ray_session(): print(ray.get(ray.remote(lambda: 'a second one').remote()))\n"
    )
    done = run_alone(program, tmp_path)
    assert (done.returncode, done.stdout) == (0, "stopped\na second one\n"), done.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_a_stop_while_ray_starts_is_heard(tmp_path):
    program = (
        "import os, signal, sys, threading; from jobs.cluster import preempt; run = sys.argv[1]\n"
        "from jobs.cluster.session import ray_session\n"
        "preempt.install(run)\n"
        "threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "try:\n"
        "    with ray_session(): print('stopped' if preempt.requested(run) else 'not heard')\n"
        "except preempt.Preempted: print('stopped')\n"
    )
    done = run_alone(program, tmp_path)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("how", ["actor", "task", "node"])
def test_what_dies_of_the_cluster_is_lost_and_no_trace(ray_cluster, how):
    import ray

    @ray.remote(max_restarts=0, max_task_retries=0)
    class Actor:
        def die(self):
            os._exit(1)

    @ray.remote(max_retries=0)
    def die():
        os._exit(1)

    def use():
        if how == "node":
            raise chained(RuntimeError("training failed"), ray.exceptions.NodeDiedError("node n2 has died"))
        ray.get(Actor.remote().die.remote() if how == "actor" else die.remote())

    with pytest.raises(Lost, match=r"a part of the cluster was lost \(\w+Error: ") as caught, ray_session():
        use()
    assert "\n" not in str(caught.value)
