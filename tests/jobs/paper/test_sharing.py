"""What runs of a table take of each other: the records of whole plans are written here, by files that mean nothing."""

import json

import pytest

from finepseudo.run_folder.done import begin, finish, is_done
from jobs.config.recipes import load
from jobs.paper.sharing import others_beside, take_from
from jobs.pipeline.plan import make_plan
from jobs.pipeline.run_folder import write_config
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter


def plan_of(cfg):
    return [stage for group in make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False))) for stage in group]


def config(folder, name, *keys):
    return load("smoke", keys, {"name": name, "out": str(folder / "paper" / "t"), "methods": ["finepseudo"]})


@pytest.fixture
def first(tmp_path):
    """A run of which every stage is done."""
    cfg = config(tmp_path, "first")
    for stage in plan_of(cfg):
        begin(stage.identity)
        for pattern in stage.outputs:
            path = stage.folder / pattern.replace("*", "0")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(stage.name)
        finish(stage.identity, wall_s=1, code_version="x")
    write_config(cfg)
    lines = [{"stage": "pretrain", "seed": 0, "method": None, "round": None, "step": n} for n in (1, 2)]
    lines += [{"stage": "frame_encoder", "seed": 0, "method": None, "round": 0, "step": 1}]
    (cfg.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return cfg


def done(cfg):
    return {stage.name for stage in plan_of(cfg) if is_done(stage.identity)}


def test_an_equal_run_takes_all_but_the_report(first, tmp_path):
    other = config(tmp_path, "second")
    assert others_beside(other.folder) == [first.folder]
    take_from(other, others_beside(other.folder))
    assert done(first) - done(other) == {stage.name for stage in plan_of(first) if stage.kind == "report"}
    assert take_from(other, others_beside(other.folder)) == [], "nothing is taken twice"


def test_a_key_parts_runs_where_it_is_read_and_no_sooner(first, tmp_path):
    other = config(tmp_path, "second", "frame_stage.loss.mining=all")
    take_from(other, [first.folder])
    assert done(other) == {"data", "split of seed-0", "pretrain", "seed-0/round-00/action_encoder"}
    links = {name: (other.folder / name).is_symlink() for name in ("data", "pretrain", "seed-0")}
    assert links == {"data": True, "pretrain": False, "seed-0": False}
    log = [json.loads(line) for line in (other.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2], "the curves of what was taken, of nothing else"


def test_a_stage_that_is_made_again_leaves_the_run_it_was_taken_from(first, tmp_path):
    other = config(tmp_path, "second")
    take_from(other, [first.folder])
    changed = config(tmp_path, "second", "pretrain.loss.mu=0.5")
    take_from(changed, [first.folder])
    assert not (other.folder / "seed-0/round-00/frame_encoder").exists()
    assert (first.folder / "seed-0/round-00/frame_encoder").is_dir()
    assert done(changed) == {"data", "split of seed-0", "seed-0/round-00/action_encoder"}
