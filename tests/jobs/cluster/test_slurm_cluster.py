"""The cluster launcher around a stand-in for Ray: roles, deadlines, signals, losses. tests/slurm has the real thing."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.cluster import leader, ray_node, slurm_cluster, temp_folder
from jobs.cluster.allocation import Allocation
from jobs.cluster.ports import reserve
from jobs.cluster.roll import Roll
from jobs.cluster.slurm_cluster import run_task
from jobs.cluster.task import ClusterConfig, Task

FAKE_RAY = """
import os, pathlib, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ports = [int(a.split("=")[1]) for a in sys.argv if a.startswith("--port=")]
server = socket.create_server(("127.0.0.1", ports[0])) if ports else None
log = pathlib.Path(os.environ.get("FAKE_LOG", "/dev/null"))
with log.open("a") as file:
    print(*sys.argv[1:], file=file)
falls = int(os.environ.get("FAKE_FALLS", 0))
if falls and len(log.read_text().splitlines()) <= falls:
    print("RuntimeError: Failed to bind to address 127.0.0.1:1; set GRPC_VERBOSITY", file=sys.stderr)
    sys.exit(1)
time.sleep(600)
"""
PROGRAM = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['RAY_ADDRESS'])"
FOLLOWER = """
import sys
from pathlib import Path
from tests.jobs.cluster.test_slurm_cluster import run, task, use_stand_in
use_stand_in(setattr)
sys.exit(run(task(1, sys.argv[2]), Path(sys.argv[1]), ["never"]))
"""

pytestmark = pytest.mark.slow  # each waits for processes of its own, seconds


def task(rank, job, nodes=("here", "there"), attempt="0"):
    return Allocation(
        job=job, step="0", attempt=attempt, rank=rank, node=nodes[rank], nodes=nodes, cpus=2, gpus=0, memory_bytes=None
    )


def use_stand_in(put):
    """Ray is a process that listens; addresses are local; the wait for nodes succeeds at once."""

    def start(self, ip, options):
        self.ray = ray_node.start([sys.executable, "-c", FAKE_RAY, *options], os.environ, self.log)

    put(leader, "node_address", lambda node: "127.0.0.1")
    put(leader, "WAIT", [sys.executable, "-c", ""])
    put(Task, "start_ray", start)
    put(temp_folder, "PLACE", Path(os.environ.get("FAKE_PLACE", "/tmp")))


@pytest.fixture
def job():
    return str(900_000_000 + os.getpid())


@pytest.fixture
def stand_in(monkeypatch):
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)}
    use_stand_in(monkeypatch.setattr)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def other(tmp_path, job, stand_in, monkeypatch):
    """Start the second task, in a process of its own; the program starts when its Ray has joined."""
    started = []
    joined = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(.1)"
    monkeypatch.setattr(leader, "WAIT", python(joined, tmp_path / "calls"))

    def start(**variables):
        line = [sys.executable, "-c", FOLLOWER, str(tmp_path), job]
        environment = {**os.environ, "FAKE_LOG": str(tmp_path / "calls"), **variables}
        root = Path(__file__).parents[3]
        started.append(subprocess.Popen(line, cwd=root, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def run(allocation, folder, command, **config):
    return run_task(allocation, ClusterConfig(folder=folder, **config), command)


def python(program, *arguments):
    return [sys.executable, "-c", program, *map(str, arguments)]


def shared(folder, job):
    return folder / f"{job}.0.0"


def left_behind(job):
    return list(Path("/tmp").glob(f"*fpray-{job}.*"))


@pytest.mark.parametrize("code", [0, 3])
def test_the_first_task_runs_the_command_and_ends_as_it_ends(tmp_path, job, stand_in, code):
    seen = tmp_path / "seen"
    command = python(f"{PROGRAM}; sys.exit({code})", seen)
    assert run(task(0, job, ("here",)), tmp_path / "c", command) == code
    assert seen.read_text().startswith("127.0.0.1:")
    assert not left_behind(job)
    assert not (shared(tmp_path / "c", job) / "token").exists()
    assert shared(tmp_path / "c", job).exists() == (code != 0)  # a failed one keeps its logs


@pytest.mark.parametrize("code", [1, 75])
def test_logs_stay_until_an_attempt_ends_with_nothing_to_explain(tmp_path, job, stand_in, code):
    assert run(task(0, job, ("here",)), tmp_path / "c", python(f"raise SystemExit({code})")) == code
    assert (shared(tmp_path / "c", job) / "ray.0.log").exists()
    assert run(task(0, job, ("here",), attempt="1"), tmp_path / "c", python("")) == 0
    assert not (tmp_path / "c").exists()


def test_a_command_killed_by_a_signal_has_the_shells_exit_code(tmp_path, job, stand_in):
    assert run(task(0, job, ("here",)), tmp_path, python("import os; os.kill(os.getpid(), 9)")) == 137


def test_a_stop_signal_that_ends_a_command_without_handlers_asks_for_another_run(tmp_path, job, stand_in):
    program = "import os, signal, time; os.kill(os.getppid(), signal.SIGUSR1); time.sleep(30)"
    assert run(task(0, job, ("here",)), tmp_path, python(program)) == 75


def test_a_command_that_handles_the_signal_decides_itself(tmp_path, job, stand_in):
    program = (
        "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "os.kill(os.getppid(), signal.SIGTERM); time.sleep(30)"
    )
    assert run(task(0, job, ("here",)), tmp_path, python(program)) == 9


def test_two_tasks_find_each_other_and_both_clean_up(tmp_path, job, other):
    second = other()
    assert run(task(0, job), tmp_path, python(PROGRAM, tmp_path / "seen")) == 0
    assert second.wait(60) == 0
    assert not left_behind(job)
    assert (tmp_path / "calls").read_text() == f"--address={(tmp_path / 'seen').read_text()}\n"


@pytest.mark.parametrize("attempt", range(3))
def test_jobs_with_neighbouring_numbers_side_by_side_all_end_well(tmp_path, job, stand_in, attempt):
    """Each as its own process, as Slurm starts them on one node."""
    line = (
        "import sys, time; from pathlib import Path\n"
        "from tests.jobs.cluster.test_slurm_cluster import run, task, use_stand_in, python\n"
        "use_stand_in(setattr)\n"
        "sys.exit(run(task(0, sys.argv[2], ('here',)), Path(sys.argv[1]), python('import time; time.sleep(1)')))"
    )
    jobs = [
        subprocess.Popen(
            python(line, tmp_path, int(job) + number), cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]
    assert [(process.communicate()[0], process.returncode)[1] for process in jobs] == [0, 0, 0]


def test_ray_that_ends_before_the_program_starts_is_started_again_on_other_ports(
    tmp_path, job, stand_in, monkeypatch, capfd
):
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_FALLS", "1")
    assert run(task(0, job, ("here",)), tmp_path / "c", python(PROGRAM, tmp_path / "seen")) == 0
    said = capfd.readouterr().out
    assert "before the program starts: RuntimeError: Failed to bind to address 127.0.0.1:1" in said
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first.split()[1] != second.split()[1]
    assert (tmp_path / "seen").read_text().split(":")[1] in second


def test_ray_that_never_starts_fails_with_the_reason_in_the_message(tmp_path, job, stand_in, monkeypatch, capfd):
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "calls"))
    monkeypatch.setenv("FAKE_FALLS", "99")
    assert run(task(0, job, ("here",)), tmp_path / "c", ["never"]) == 1
    assert "error: Ray's head does not start on here: RuntimeError: Failed to bind" in capfd.readouterr().out
    assert len((tmp_path / "calls").read_text().splitlines()) == 3
    assert (shared(tmp_path / "c", job) / "ray.0.log").exists()


def test_a_node_that_cannot_start_ray_fails_the_job_and_is_no_stop_request(tmp_path, job, other, monkeypatch, capfd):
    monkeypatch.setattr(leader, "WAIT", python("import time; time.sleep(60)"))
    second = other(FAKE_FALLS="99")
    assert run(task(0, job), tmp_path, ["never"]) == 1
    assert "error: node there left the cluster: Ray ended: RuntimeError: Failed to bind" in capfd.readouterr().out
    assert second.wait(60) == 0, "the first task's code is the job's"
    assert "it is started again" in second.stdout.read()
    assert len((tmp_path / "calls").read_text().splitlines()) == 3
    assert (shared(tmp_path, job) / "ray.1.log").exists()


def test_a_node_without_a_place_for_ray_fails_the_job_with_the_reason(tmp_path, job, other, monkeypatch, capfd):
    monkeypatch.setattr(leader, "WAIT", python("import time; time.sleep(60)"))
    (tmp_path / "none").touch()
    second = other(FAKE_PLACE=str(tmp_path / "none"))
    assert run(task(0, job), tmp_path, ["never"]) == 1
    assert second.wait(60) == 0
    assert "error: node there left the cluster: cannot write " in capfd.readouterr().out


@pytest.mark.parametrize("how", ["task", "ray"])
def test_a_node_that_is_lost_while_the_program_runs_asks_for_another_run(tmp_path, job, other, capfd, how):
    second = other()
    program = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
    kill = (
        f"import os, pathlib, subprocess, time\n"
        f"while not pathlib.Path({str(tmp_path / 'runs')!r}).exists(): time.sleep(.1)\n"
        f"child = subprocess.run(['pgrep', '-P', '{second.pid}'], capture_output=True, text=True).stdout\n"
        f"os.kill({second.pid} if {how == 'task'} else int(child.split()[0]), 9)"
    )
    killer = subprocess.Popen(python(kill))
    assert run(task(0, job), tmp_path, python(program, tmp_path / "runs")) == 75
    killer.wait()
    said = capfd.readouterr().out
    assert "error: node there left the cluster" in said
    assert "everything done so far is on disk" in said


def test_a_program_that_falls_with_its_ray_asks_for_another_run(tmp_path, job, stand_in, capfd):
    def children():
        listed = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False)
        return set(listed.stdout.split())

    before = sorted(children())  # this process may have others, of other tests
    program = (
        "import os, subprocess, sys\n"
        "children = subprocess.run(['pgrep', '-P', str(os.getppid())], capture_output=True, text=True).stdout.split()\n"
        "(ray,) = {int(child) for child in children} - {os.getpid(), *map(int, sys.argv[1:])}\n"
        "os.kill(ray, 9); sys.exit(1)"
    )
    assert run(task(0, job, ("here",)), tmp_path, python(program, *before)) == 75
    assert "error: Ray ended on the head node here" in capfd.readouterr().out


def test_when_the_first_task_is_killed_the_other_cleans_up(tmp_path, job, other):
    folder = shared(tmp_path, job)
    folder.mkdir()
    block = reserve(int(job))
    roll = Roll(block.guard, "secret", (1,))
    (folder / "token").write_text("secret")
    (folder / "head.json").write_text(json.dumps({"first": f"127.0.0.1:{block.first}"}))
    second = other()
    roll.tell("join 127.0.0.1:29999")
    while not (tmp_path / "calls").exists():
        roll.look()
        time.sleep(0.05)
    roll.close()
    assert second.wait(60) == 0
    assert not left_behind(job)


def test_a_head_file_of_an_older_job_of_the_same_number_is_not_followed(tmp_path, job, other):
    folder = shared(tmp_path, job)
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        (folder / "token").write_text("old")
        (folder / "head.json").write_text(json.dumps({"first": f"127.0.0.1:{foreign.getsockname()[1]}"}))
        second = other()
        foreign.accept()[0].close()
        assert run(task(0, job), tmp_path, python(PROGRAM, tmp_path / "seen")) == 0
    assert second.wait(60) == 0
    assert (tmp_path / "calls").read_text() == f"--address={(tmp_path / 'seen').read_text()}\n"


def test_without_a_head_a_task_gives_up_at_the_deadline(tmp_path, job, stand_in, capfd):
    assert run(task(1, job), tmp_path, ["never"], deadline_s=0.5) == 1
    assert "node there: no head after 0 s" in capfd.readouterr().out
    assert not left_behind(job)


def test_a_cluster_that_is_not_complete_in_time_fails_and_is_no_stop_request(
    tmp_path, job, stand_in, capfd, monkeypatch
):
    monkeypatch.setattr(leader, "WAIT", python("import time; time.sleep(1); raise SystemExit(1)"))
    assert run(task(0, job, ("here",)), tmp_path, ["never"], deadline_s=1) == 1
    assert "error: the cluster is not complete after 1 s; raise the deadline" in capfd.readouterr().out


def test_what_a_killed_attempt_left_on_the_node_is_removed(tmp_path, job, stand_in):
    mine = Path(f"/tmp/fpray-{job}.0.0-x")
    (mine / "r" / "session_old").mkdir(parents=True)
    program = f"import os; assert not os.path.exists('{mine}')"
    assert run(task(0, job, ("here",)), tmp_path, python(program)) == 0


MAKES_STEP = """
import pathlib, sys
from jobs.cluster import preempt
run = pathlib.Path(sys.argv[1])
preempt.install(run)
made = len(list(run.glob("step-*.pt")))
if made < int(sys.argv[2]):
    (run / f"step-{made:09d}.pt").touch()
sys.exit(75)
"""


@pytest.mark.slow
def test_a_job_that_makes_no_step_in_three_restarts_ends_and_says_so(tmp_path, job, stand_in, capfd):
    def attempt(number, steps):
        command = python(MAKES_STEP, tmp_path / "run", steps)
        return run(task(0, job, ("here",), attempt=str(number)), tmp_path / "c", command)

    assert [attempt(number, 3) for number in range(5)] == [75] * 5, "three with a step, two without"
    assert attempt(5, 4) == 75, "a step in between begins the count again"
    assert [attempt(number, 4) for number in range(6, 9)] == [75, 75, 1]
    said = capfd.readouterr().out
    assert said.count("error: this job went back into the queue 3 times and made no step in between") == 1
    assert "the program asked for another run" in said


@pytest.mark.slow
def test_a_time_limit_below_the_notice_is_not_requeued_for_ever(tmp_path, job, stand_in, capfd):
    program = "import os, signal, time; os.kill(os.getppid(), signal.SIGUSR1); time.sleep(30)"
    codes = [run(task(0, job, ("here",), attempt=str(n)), tmp_path, python(program)) for n in range(4)]
    assert codes == [75, 75, 75, 1]
    assert "SIGUSR1 came after" in capfd.readouterr().out


def test_processes_in_groups_of_their_own_end_with_the_session():
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    first = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
    child = int(first.stdout.readline())
    ray_node.end(first)
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("log", "errors", "reason"),
    [
        ("INFO up\n", {}, "INFO up"),
        ("", {}, "it said nothing"),
        ("\x1b[31mRuntimeError: no\x1b[0m\nbye\n", {}, "RuntimeError: no"),
        ("Remaining processes will be killed.\n", {"client.err": "x\nRuntimeError: Failed to bind to a:1\n"},
         "RuntimeError: Failed to bind to a:1"),
        ("ValueError: late\n", {"gcs.err": "Check failed: server_ The specified port is 7\n"},
         "Check failed: server_ The specified port is 7"),
    ],
)  # fmt: skip
def test_the_reason_is_what_the_plainest_line_says(tmp_path, log, errors, reason):
    (tmp_path / "ray.log").write_text(log)
    for name, text in errors.items():
        (tmp_path / name).write_text(text)
    assert ray_node.why(tmp_path / "ray.log", tmp_path) == reason


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_folder_that_may_only_be_read_is_one_line(small_disk, rank, monkeypatch, capfd):
    folder, _ = small_disk
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    monkeypatch.setattr("jobs.cluster.allocation.host_names", lambda _: ("n1", "n2"))
    env = {"SLURM_JOB_ID": "1", "SLURM_PROCID": rank, "SLURM_STEP_NODELIST": "n", "SLURMD_NODENAME": "n1"}
    line = ["--folder", str(folder / "c"), "--", "a"]
    assert slurm_cluster.main(line, env={**env, "SLURM_CPUS_ON_NODE": "1"}) == 2
    said = capfd.readouterr()
    assert "error: cannot write " in said.out
    assert "the file system is read-only; choose another folder" in said.out
    assert (said.out + said.err).count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--deadline", "0", "--folder", "x", "--", "a"], "deadline_s 0.0: must be positive"),
        (["--object-store-mb", "10", "--folder", "x", "--", "a"], "object_store_mb 10: Ray needs at least 80"),
        (["--folder", "x", "--", "a"], "SLURM_JOB_ID"),
    ],
)
def test_bad_input_is_one_line_and_code_two(arguments, message, capfd):
    assert slurm_cluster.main(arguments, env={}) == 2
    assert message in capfd.readouterr().out
