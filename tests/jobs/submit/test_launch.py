"""A run as a chain of jobs: what is submitted, with which dependencies, and what a second launch does."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.cli.main import main
from jobs.cluster.restarts import note_run
from jobs.config.recipes import load
from jobs.pipeline.run_folder import read_config, write_config
from jobs.submit import launch
from shards.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "launch.txt"


@pytest.fixture
def cfg(tmp_path):
    return load("smoke", [f"out={tmp_path}", "seeds=[0, 7]"], {"name": "r"})


def arguments(tmp_path, *more):
    from jobs.cli.parser import parser

    parsed = parser().parse_args(["launch", "--recipe", "smoke", "--name", "r", *more])
    parsed.overrides = [f"out={tmp_path}", "seeds=[0, 7]"]
    return parsed


@pytest.fixture
def slurm(monkeypatch):
    """A Slurm that numbers jobs from 1; `queue` holds the ones that wait or run."""

    class Slurm:
        def __init__(self):
            self.queue, self.lines = set(), []

        def submit(self, step, after, main):
            job = str(len(self.lines) + 1)
            self.lines.append((step.name, tuple(after)))
            self.queue.add(job)
            return job

    slurm = Slurm()
    monkeypatch.setattr(launch, "submit_slurm", slurm.submit)
    monkeypatch.setattr(launch, "alive", slurm.queue.__contains__)
    return slurm


def test_every_draw_waits_for_the_shards_and_the_report_for_every_draw(cfg, tmp_path, slurm):
    assert launch.launch(cfg, arguments(tmp_path), main) == 0
    assert slurm.lines == [
        ("shards", ()),
        ("manifest", ("1",)),
        ("seed-0", ("2",)),
        ("seed-7", ("2",)),
        ("report", ("3", "4")),
    ]
    dag = json.loads((tmp_path / "r" / "dag.json").read_text())
    assert {name: step["job"] for name, step in dag.items()} == {
        "shards": "1", "manifest": "2", "seed-0": "3", "seed-7": "4", "report": "5",
    }  # fmt: skip
    assert (tmp_path / "r-seed7" / "data").resolve() == tmp_path / "r" / "data"
    assert (tmp_path / "r" / "seed-7").resolve() == tmp_path / "r-seed7" / "seed-7"


def test_a_second_launch_submits_only_what_is_neither_done_nor_on_its_way(cfg, tmp_path, slurm, monkeypatch):
    launch.launch(cfg, arguments(tmp_path), main)
    slurm.queue -= {"1", "2", "4", "5"}  # shards and manifest ended well, seed 7 died and with it the report
    monkeypatch.setattr(launch.Step, "done", lambda step: step.name in ("shards", "manifest"))
    slurm.lines.extend([("", ())] * 5)
    launch.launch(cfg, arguments(tmp_path), main)
    assert slurm.lines[10:] == [("seed-7", ()), ("report", ("3", "11"))]
    dag = json.loads((tmp_path / "r" / "dag.json").read_text())
    assert {name: step["job"] for name, step in dag.items()} == {
        "manifest": "2", "seed-0": "3", "seed-7": "11", "report": "12",
    }  # fmt: skip


def test_a_step_whose_follower_still_waits_is_not_submitted_again(cfg, tmp_path, slurm):
    launch.launch(cfg, arguments(tmp_path), main)
    slurm.queue.discard("1")  # all parts are written, the manifest is not
    launch.launch(cfg, arguments(tmp_path), main)
    assert len(slurm.lines) == 5


def test_a_run_folder_with_results_of_its_own_is_not_linked_over(cfg, tmp_path, slurm):
    (tmp_path / "r" / "seed-0").mkdir(parents=True)
    with pytest.raises(UserError, match="not from such jobs"):
        launch.launch(cfg, arguments(tmp_path), main)
    assert slurm.lines == []


def test_the_dry_run_prints_every_submission_and_touches_nothing(tmp_path, capsys):
    line = ["launch", "--cluster", "dry-run", "--recipe", "smoke", "--name", "r", f"out={tmp_path}", "seeds=[0, 1, 2]"]
    line += ["--parts", "4", "--sbatch=--nodes=4 --time=3-0"]
    assert main(line) == 0
    text = capsys.readouterr().out.replace(str(tmp_path), "OUT").replace(str(launch.SCRIPTS), "slurm")
    if os.environ.get("WRITE_GOLDEN") == "true":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "renew with WRITE_GOLDEN=true and a line in CHANGELOG.md"
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_the_message_names_the_way_out(cfg, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    step = launch.make_steps(cfg, "smoke", [])[0]
    with pytest.raises(UserError, match=r"step shards: sbatch refuses it.*--cluster local"):
        launch.submit_slurm(step, [], main=main)
    with pytest.raises(UserError, match="squeue does not run"):
        launch.alive("1")


@pytest.fixture
def helper(cfg, tmp_path, monkeypatch):
    """A helper step inside a Slurm job whose scontrol only notes what it is asked."""
    (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/asked\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(launch, "REQUEUE_S", 0)
    return next(step for step in launch.make_steps(cfg, "smoke", []) if step.name == "manifest")


def test_a_helper_step_that_is_preempted_goes_back_into_the_queue_while_it_gets_on(helper, tmp_path):
    made = iter([1, 2, 2, 2, 2])

    def preempted(_arguments):
        note_run(helper.cfg.folder)
        (helper.cfg.folder / f"shard-{next(made):06d}.tar").touch()
        return 75

    for _ in range(4):
        with pytest.raises(RuntimeError, match="manifest ended with code 75"):
            launch.run_here(helper, preempted)
    assert (tmp_path / "asked").read_text() == "requeue 77\n" * 4
    with pytest.raises(RuntimeError):
        launch.run_here(helper, preempted)
    assert (tmp_path / "asked").read_text() == "requeue 77\n" * 4, "three restarts without a step"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_helper_step_that_ends_by_itself_is_not_requeued(helper, tmp_path, code):
    if code:
        with pytest.raises(RuntimeError, match=f"ended with code {code}"):
            launch.run_here(helper, lambda _: code)
    else:
        launch.run_here(helper, lambda _: code)
    assert not (tmp_path / "asked").exists()


def test_the_report_is_of_what_the_draws_ran_with(cfg, tmp_path, capsys):
    """Between two launches a key changed: the draws ran again in folders of their own, the shards did not."""
    write_config(replace(cfg, rounds=3))
    report = launch.make_steps(cfg, "smoke", [f"out={tmp_path}", "seeds=[0, 7]"])[-1]
    with pytest.raises(RuntimeError, match="report ended with code 2"):
        launch.run_here(report, main)
    assert "report: needs" in capsys.readouterr().err
    assert read_config(cfg.folder).rounds == cfg.rounds


@pytest.mark.parametrize("parts", ["0", "-3", "x"])
def test_a_wrong_number_of_tasks_is_refused(parts, capsys):
    with pytest.raises(SystemExit):
        main(["launch", f"--parts={parts}"])
    assert "is no number of tasks" in capsys.readouterr().err


def test_a_second_launch_says_which_job_died_and_how(cfg, tmp_path, slurm, monkeypatch, capsys):
    launch.launch(cfg, arguments(tmp_path), main)
    slurm.queue.clear()
    monkeypatch.setattr(launch, "how_it_ended", lambda job: "TIMEOUT" if job == "2" else "CANCELLED")
    capsys.readouterr()
    launch.launch(cfg, arguments(tmp_path), main)
    said = capsys.readouterr().out
    assert "manifest: job 7 submitted; job 2 ended without its result (TIMEOUT)" in said
    assert "report: job 10 submitted; job 5 ended without its result (CANCELLED)" in said
