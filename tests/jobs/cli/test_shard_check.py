"""Damaged shards are named, and written again byte for byte while the others stay."""

import pytest

from finepseudo.run_folder.layout import RunPaths
from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.pipeline.plan import COMMANDS, make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter

SMALL = ["data.synthetic.train_per_class=2", "data.synthetic.test_per_class=1", "resources.write_tasks=0"]
KEYS = [*SMALL, "shards.clips_per_shard=4"]


@pytest.fixture
def shards(tmp_path):
    """The shards of a run whose clips are there: three tars."""
    cfg = load("smoke", [f"out={tmp_path}", *KEYS])
    with Reporter(cfg.folder, tensorboard=False) as reporter:
        run = Run(cfg, reporter)
        run_plan(run, make_plan(run), "code", COMMANDS["write-shards"], write=True)
    return RunPaths(cfg.folder).shards


def test_what_is_whole_is_said_and_what_is_damaged_is_named(shards, capsys):
    line = ["write-shards", "--verify", f"out={shards.parents[2]}", *KEYS]
    assert main(line) == 0
    assert capsys.readouterr().out == "shards: 3 of 3 are as they were written\n"
    bad = shards / "shard-000001.tar"
    bad.write_bytes(bad.read_bytes()[:-1] + b"x")
    (shards / "shard-000002.idx").unlink()
    before = {path: path.read_bytes() for path in shards.iterdir()}
    assert main(line) == 2
    said = capsys.readouterr().out
    assert "damaged: shard-000001.tar: its bytes are not the ones that were written" in said
    assert "damaged: shard-000002.idx: it is not there" in said
    assert "shards: 1 of 3 are as they were written" in said
    assert before == {path: path.read_bytes() for path in shards.iterdir()}, "nothing is written"
