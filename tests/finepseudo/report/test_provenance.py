"""Where the numbers come from: time that passed, the command that was typed."""

from __future__ import annotations

import json
import shlex
import shutil

from finepseudo.report.blocks import Grid
from finepseudo.report.provenance import total_wall, training
from finepseudo.report.reading import Done, read_run
from tests.finepseudo.report.pages import change, page_of


def test_wall_time_counts_what_ran_side_by_side_once(small):
    done = [
        Done(stage=s, folder=s, wall_s=w, finished_at=f"2026-11-20T14:{m}:00.000+00:00", code_version="x")
        for s, w, m in (("a", 60, "01"), ("b", 120, "02"), ("c", 30, "05"))
    ]
    assert total_wall(done) == "2 min 30 s"
    assert total_wall([*done, Done(stage="d", folder="d", wall_s=9, finished_at="", code_version="x")]) == "2 min 39 s"


def test_the_command_stands_as_it_was_typed(small):
    typed = ["finepseudo", "run", "--name", "my dives", "out=runs", "seeds=[0, 1]"]
    change(small / "environment.json", command=typed)
    told = dict(page_of(small).tables["environment"][1:])
    assert told["command"] == "finepseudo run --name 'my dives' out=runs 'seeds=[0, 1]'"
    assert shlex.split(told["command"]) == typed


def test_curves_on_held_out_clips_are_drawn(folder, tmp_path):
    mine = shutil.copytree(folder, tmp_path / "mine")
    tags = {"stage": "action_encoder", "seed": 0, "method": None, "round": 0}
    with (mine / "metrics.jsonl").open("a") as log:
        for step, right in ((10, 0.25), (20, 0.5)):
            log.write(json.dumps({**tags, "step": step, "valid/accuracy": right, "valid/loss": 1.0}) + "\n")
    grids = [block for block in training(read_run(mine)).blocks if isinstance(block, Grid)]
    drawn = [figure.svg for grid in grids for figure in grid.figures]
    said = "top-1 on held-out clips, % over 20 steps, last value of each line: all methods, seed 0 50.0 percent"
    assert said in drawn[-1]
    assert len(drawn) == 1 + len([svg for svg in drawn if "waiting for data" in svg])
