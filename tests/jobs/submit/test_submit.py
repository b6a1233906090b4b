"""A run as a chain of jobs: what is submitted, with which dependencies, and what a second submit does."""

import json
import os
from pathlib import Path

import pytest

from jobs.cli.main import main
from jobs.cluster.restarts import note_run
from jobs.config.recipes import load
from jobs.submit import draws, helper, slurm, steps, submit
from shards.errors import UserError

GOLDEN = Path(__file__).parents[2] / "golden" / "submit.txt"


@pytest.fixture
def cfg(tmp_path):
    return load("smoke", [f"out={tmp_path}", "seeds=[0, 7]"], {"name": "r"})


def arguments(tmp_path, *more):
    from jobs.cli.parser import parser

    parsed = parser().parse_args(["submit", "smoke", "--name", "r", *more])
    parsed.overrides = [f"out={tmp_path}", "seeds=[0, 7]"]
    return parsed


@pytest.fixture
def queue(monkeypatch):
    """A Slurm that numbers jobs from 1; `alive` holds the ones that wait or run."""

    class Slurm:
        def __init__(self):
            self.alive, self.lines, self.refuses = set(), [], ""

        def submit(self, step, after, entries, run_here):
            if step.name == self.refuses:
                raise UserError(f"step {step.name}: sbatch refuses it")
            job = str(len(self.lines) + 1)
            self.lines.append((step.name, tuple(after), tuple(entries)))
            self.alive |= {f"{job}_{task}" for task, entry in step.tasks if entry in entries} or {job}
            return job

    queue = Slurm()
    monkeypatch.setattr(submit, "submit_slurm", queue.submit)
    monkeypatch.setattr(submit, "alive", queue.alive.__contains__)
    return queue


def jobs_of(tmp_path):
    return {name: step["job"] for name, step in json.loads((tmp_path / "r" / "dag.json").read_text()).items()}


def test_the_draws_are_an_array_that_waits_for_the_shards(cfg, tmp_path, queue, capsys):
    assert submit.submit(cfg, arguments(tmp_path), main) == 0
    assert queue.lines == [
        ("shards", (), ("shards",)),
        ("manifest", ("1",), ("manifest",)),
        ("pretrain", ("2",), ("pretrain",)),
        ("draws", ("3",), ("seed-0", "seed-7")),
    ]
    assert jobs_of(tmp_path) == {"shards": "1", "manifest": "2", "pretrain": "3", "seed-0": "4_0", "seed-7": "4_1"}
    said = capsys.readouterr().out
    assert said.index("plan ") < said.index("shards: job 1 submitted"), "the plan comes first"
    assert "seed-7 job 4_1 submitted" in said


@pytest.mark.parametrize("alone", ["seeds=[0]", "pretrain.shared=false", "methods=[supervised, pseudo_label]"])
def test_a_pre_training_that_no_draws_share_has_no_step_of_its_own(tmp_path, alone):
    found = steps.make_steps(load("smoke", [f"out={tmp_path}", "seeds=[0, 7]", alone]), "smoke", [])
    assert [step.name for step in found] == ["shards", "manifest", "draws"]
    assert found[-1].needs == ("manifest",)


def test_a_second_submit_takes_only_what_is_neither_done_nor_on_its_way(cfg, tmp_path, queue, monkeypatch):
    submit.submit(cfg, arguments(tmp_path), main)
    queue.alive -= {"1", "2", "3", "4_1"}  # shards, manifest and pre-training ended well, seed 7 died
    monkeypatch.setattr(submit, "how_it_ended", lambda job: "TIMEOUT")
    monkeypatch.setattr(steps.Step, "done", lambda step, entry: entry in ("shards", "manifest", "pretrain"))
    queue.lines.extend([("", (), ())] * 5)
    submit.submit(cfg, arguments(tmp_path), main)
    assert queue.lines[9:] == [("draws", (), ("seed-7",))]
    assert jobs_of(tmp_path) == {"pretrain": "3", "seed-0": "4_0", "seed-7": "10_1"}


def test_a_step_whose_follower_still_waits_is_not_submitted_again(cfg, tmp_path, queue):
    submit.submit(cfg, arguments(tmp_path), main)
    queue.alive.discard("1")  # all parts are written, the manifest is not
    submit.submit(cfg, arguments(tmp_path), main)
    assert len(queue.lines) == 4


def test_a_run_folder_with_results_of_its_own_is_not_linked_over(cfg, tmp_path, queue):
    (tmp_path / "r" / "seed-0").mkdir(parents=True)
    with pytest.raises(UserError, match="not from such jobs"):
        submit.submit(cfg, arguments(tmp_path), main)
    assert queue.lines == []


@pytest.mark.parametrize(("step", "left"), [("shards", []), ("draws", ["shards", "manifest", "pretrain"])])
def test_a_submit_that_slurm_refuses_leaves_no_folder_but_what_it_submitted(cfg, tmp_path, queue, step, left):
    queue.refuses = step
    with pytest.raises(UserError, match=f"step {step}: sbatch refuses"):
        submit.submit(cfg, arguments(tmp_path), main)
    assert list(jobs_of(tmp_path) if left else tmp_path.iterdir()) == left


def test_the_dry_run_prints_the_plan_and_touches_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CPU_PARTITION", "cpu")
    line = ["submit", "smoke", "--cluster", "dry-run", "--name", "r", f"out={tmp_path}", "seeds=[0, 1, 2]"]
    line += ["--parts", "4", "--sbatch=--nodes=4 --time=3-0"]
    assert main(line) == 0
    text = capsys.readouterr().out.replace(str(tmp_path), "OUT").replace(str(steps.SCRIPTS), "slurm")
    if os.environ.get("WRITE_GOLDEN") == "true":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "renew with WRITE_GOLDEN=true and a line in CHANGELOG.md"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "overrides", "script", "options"),
    [
        ("finegym288", [], "run_finegym.sh", ()),
        ("ssv2", ["resources.device=cpu"], "run_ssv2.sh", ("--gpus-per-node=0",)),
        ("smoke", [], "run.sh", ()),
    ],
)
def test_each_data_set_has_its_script_and_a_recipe_of_ones_own_the_common_one(recipe, overrides, script, options):
    draw = steps.make_steps(load(recipe, overrides), recipe, overrides)[-1]
    assert (draw.script.name, draw.options) == (script, options)


@pytest.mark.parametrize(
    ("array", "count"),
    [("0-15", 16), ("0-63%8", 64), ("0,3", 2), ("5", 1), ("0-30:10", 4), ("0-9:3,12", 5), ("1-3,7,10-11%2", 6)],
)
def test_tasks_of_an_array_are_counted(array, count):
    assert steps._count(array) == count


def test_facts_of_the_site_are_read_and_its_folder_of_runs_is_the_default(tmp_path, monkeypatch):
    site = tmp_path / "a site's $(touch x).sh"
    site.write_text('SBATCH_ACCOUNT="my lab"\nRUNS_DIR=/scratch/me\necho noise\n')
    for name in ("SBATCH_ACCOUNT", "RUNS_DIR"):
        monkeypatch.setenv(name, "")
    slurm.read_site(site)
    assert os.environ["SBATCH_ACCOUNT"] == "my lab"
    assert slurm.runs_of_site(["rounds=2"]) == ["out=/scratch/me"]
    assert slurm.runs_of_site(["out=here"]) == []
    site.write_text("if\n")
    with pytest.raises(UserError, match=r"cannot be read: .*syntax error"):
        slurm.read_site(site)


def test_without_slurm_the_message_names_the_way_out(cfg, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    step = steps.make_steps(cfg, "smoke", [])[0]
    with pytest.raises(UserError, match=r"step shards: sbatch refuses it.*--cluster local"):
        slurm.submit_slurm(step, [], [], print)
    with pytest.raises(UserError, match="squeue does not run"):
        slurm.alive("1")


@pytest.fixture
def manifest(cfg, tmp_path, monkeypatch):
    """A helper step inside a Slurm job whose scontrol only notes what it is asked."""
    (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/asked\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(helper, "REQUEUE_S", 0)
    return next(step for step in steps.make_steps(cfg, "smoke", []) if step.name == "manifest")


def test_a_helper_step_that_is_preempted_goes_back_into_the_queue_while_it_gets_on(manifest, tmp_path):
    made = iter([1, 2, 2, 2, 2])

    def preempted(_arguments):
        note_run(manifest.cfg.folder)
        (manifest.cfg.folder / f"shard-{next(made):06d}.tar").touch()
        return 75

    for _ in range(4):
        with pytest.raises(RuntimeError, match="manifest ended with code 75"):
            helper.run_here(manifest, preempted)
    assert (tmp_path / "asked").read_text() == "requeue 77\n" * 4
    with pytest.raises(RuntimeError):
        helper.run_here(manifest, preempted)
    assert (tmp_path / "asked").read_text() == "requeue 77\n" * 4, "three restarts without a step"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_helper_step_that_ends_by_itself_is_not_requeued(manifest, tmp_path, code):
    if code:
        with pytest.raises(RuntimeError, match=f"ended with code {code}"):
            helper.run_here(manifest, lambda _: code)
    else:
        helper.run_here(manifest, lambda _: code)
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("parts", ["0", "-3", "x"])
def test_a_wrong_number_of_tasks_is_refused(parts, capsys):
    with pytest.raises(SystemExit):
        main(["submit", f"--parts={parts}"])
    assert "is no number from 1 on" in capsys.readouterr().err


def test_a_second_submit_says_which_job_died_and_how(cfg, tmp_path, queue, monkeypatch, capsys):
    submit.submit(cfg, arguments(tmp_path), main)
    queue.alive.clear()
    monkeypatch.setattr(submit, "how_it_ended", lambda job: "TIMEOUT" if job == "2" else "CANCELLED")
    capsys.readouterr()
    submit.submit(cfg, arguments(tmp_path), main)
    said = capsys.readouterr().out
    assert "manifest: job 6 submitted; job 2 ended without its result (TIMEOUT)" in said
    assert "draws: seed-7 job 8_1 submitted; job 4_1 ended without its result (CANCELLED)" in said


def test_links_of_draws_are_made_side_by_side_and_twice(cfg, tmp_path):
    for seed in (0, 7, 7):
        draws.link_draw(cfg, seed)
    assert (tmp_path / "r-seed7" / "data").resolve() == tmp_path / "r" / "data"
    assert (tmp_path / "r-seed7" / "pretrain").resolve() == tmp_path / "r" / "pretrain"
    assert (tmp_path / "r" / "seed-7").resolve() == tmp_path / "r-seed7" / "seed-7"


def test_the_local_chain_runs_every_draw_by_its_number(cfg):
    lines = []
    for step in steps.make_steps(cfg, "smoke", [])[-2:]:
        helper.run_here(step, lambda line: lines.append(line) or 0)
    assert [line[0] for line in lines] == ["run"] * 3
    assert [line[-2:] for line in lines] == [["r", "--shared"], ["--draw", "0"], ["--draw", "1"]]
