"""What the command line loads before it knows that there is something to do: counted, not timed."""

import json
import subprocess
import sys

import pytest

from jobs.cli.main import main

HEAVY = {"torch", "torchvision", "ray", "av", "nvidia", "pyarrow", "numpy", "fsspec", "webdataset", "submitit", "rich"}
COUNT = """
import json, runpy, sys
sys.argv = json.loads(sys.argv[1])
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=False)
except SystemExit as end:
    code = end.code
print("LOADED", json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def loaded(*command: str) -> tuple[int, set[str]]:
    """Run a module's command line in a process of its own; give its exit code and the packages that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, json.dumps(command)], capture_output=True, text=True, check=True, timeout=120
    )
    code, packages = json.loads(done.stdout.rpartition("LOADED ")[2])
    return code, set(packages)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["nonsense"], 2),
        (["run", "--nonsense"], 2),
        (["run", "--recipe", "nonsense"], 2),
        (["run", "--dry-run", "nme=x"], 2),
        (["tune", "space.yaml", "rounds=-1"], 2),
        (["run", "--recipe", "diving48", "--print-config"], 0),
        (["keys", "embed"], 0),
        (["schema"], 0),
        (["methods", "sefar"], 0),
        (["run", "--recipe", "smoke", "methods=[sefar]", "--print-config"], 0),
    ],
)
def test_the_command_line_starts_without_tensors_tables_and_clusters(command, code):
    ended, packages = loaded("jobs", *command)
    assert ended == code
    assert packages & HEAVY == set()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["status", "--name", "none"], 2),
        (["clean", "--name", "none"], 2),
        (["check", "smoke"], 0),
        (["plan", "smoke"], 0),
        (["run", "--recipe", "smoke", "--dry-run"], 0),
    ],
)
def test_what_computes_nothing_knows_its_stages_without_torch(command, code, tmp_path):
    ended, packages = loaded("jobs", *command, f"out={tmp_path}")
    assert ended == code
    assert packages & {"torch", "torchvision", "ray", "nvidia"} == set()


def test_a_node_of_the_cluster_starts_without_torch_and_without_ray():
    ended, packages = loaded("jobs.cluster", "--help")
    assert ended == 0
    assert packages & HEAVY == set()


def test_a_terminal_hears_at_once_what_is_begun(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("jobs.cli.commands._run_command", lambda *_: 0)
    for terminal, said in ((True, f"finepseudo status: {tmp_path}/run\n"), (False, "")):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        assert main(["status", "--name", "run", f"out={tmp_path}"]) == 0
        assert capsys.readouterr().err == said
