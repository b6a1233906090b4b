"""What `--dry-run` and `check` find without running anything."""

import re
import sys

import pytest
import torch

from jobs.cli.main import main
from jobs.config.recipes import load
from jobs.pipeline.plan import make_plan
from jobs.pipeline.runner import run_plan
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter


@pytest.mark.parametrize("recipe", ["smoke", "demo", "diving48", "kinetics400"])
def test_a_dry_run_prints_the_plan_without_data_or_ray(recipe, capsys, tmp_path):
    assert main(["run", "--recipe", recipe, f"out={tmp_path}", "--dry-run", *starts(recipe)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"to do    seed-0(\.\.2)?/finepseudo/round-01(\.\.\d+)?/action_encoder", said)
    assert len(said.splitlines()) < 35
    assert "training" in said
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def starts(recipe):
    """What a recipe at the paper's scale has to be told."""
    return [] if recipe in ("smoke", "demo") else ["frame_encoder.weights=random", "action_encoder.weights=random"]


def test_a_dry_run_names_weights_that_are_not_there(capsys, tmp_path):
    weights = ["frame_encoder.weights=byol:/nowhere.pt"]
    assert main(["run", "--recipe", "diving48", f"out={tmp_path}", "--dry-run", *weights]) == 2
    said = capsys.readouterr().out
    assert "PROBLEM frame_encoder.weights: /nowhere.pt is not there" in said
    assert "PROBLEM action_encoder.weights: variant r2plus1d_18 needs kinetics_sup:FILE or tclr:FILE, or tclr" in said
    assert all(line.startswith("PROBLEM") for line in said.splitlines()[-2:]), "the end is what a terminal shows"


def test_a_dry_submit_names_them_too(capsys, tmp_path):
    line = ["submit", "--recipe", "diving48", f"out={tmp_path}", "--dry-run"]
    assert main([*line, "action_encoder.weights=random"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("warn        frame_encoder.weights: variant vtn needs")


def test_a_dry_run_counts_the_classes_of_an_open_world_before_they_are_rendered(capsys, tmp_path):
    words = ["run", "--recipe", "smoke", f"out={tmp_path}", "--dry-run"]
    assert main([*words, "data.open_world.known=4"]) == 2
    assert "PROBLEM data.open_world: 4 known and 1 novel classes are wanted, only 4 classes" in capsys.readouterr().out
    assert main([*words, "data.open_world.known=3"]) == 0


NETWORK = """
import torch

class Mean(torch.nn.Module):
    width = 3

    def __init__(self, scale=1, made=""):
        super().__init__()
        self.made = made
        self.scale = torch.nn.Parameter(torch.tensor(1.0 / scale))
        assert self.scale.item() < 2, "scale is too large"

    def forward(self, video):
        assert self.made != "needs 8 frames", "8 frames are needed"
        features = video.mean((2, 3, 4)) * self.scale
        return {"": features, "wider": features.repeat(1, 2), "list": [features], "whole": video}.get(self.made)
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A network of one's own, and weights files that fit it, miss a tensor, are of another encoder, are no weights."""
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    (folder / "dry_run_net.py").write_text(NETWORK)
    torch.save({"scale": torch.tensor(1.0)}, folder / "fits.pt")
    torch.save({"scale": torch.ones(2)}, folder / "shape.pt")
    torch.save({"other": torch.ones(2)}, folder / "other.pt")
    (folder / "page.pt").write_bytes(b"<html>")
    yield folder
    sys.modules.pop("dry_run_net", None)


MINE, RANDOM = "action_encoder.variant=dry_run_net:Mean", "action_encoder.weights=random"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ([MINE, RANDOM], None),
        ([MINE, "action_encoder.weights=file:{}/fits.pt"], None),
        ([MINE, "action_encoder.weights=file:{}/shape.pt"], "action_encoder.weights file:.*1 tensor does not fit Mean"),
        (
            [MINE, "action_encoder.weights=file:{}/other.pt"],
            r"action_encoder.weights file:.*no tensor \*\.scale, as dry_run_net:Mean in its own names has",
        ),
        (
            [MINE, RANDOM, "action_encoder.options={{scale: 0.1}}"],
            "action_encoder.variant .*Mean: .*scale is too large",
        ),
        ([MINE, RANDOM, "action_encoder.options={{size: 1}}"], "action_encoder.variant .*Mean: .*unexpected.*'size'"),
        (
            [MINE, RANDOM, "action_encoder.options={{made: wider}}"],
            r"action_encoder.variant dry_run_net:Mean: forward .* on frames \[2, 3, 16, 40, 40\] makes \[2, 6\]; "
            r"\[2, 3\] is needed",
        ),
        ([MINE, RANDOM, "action_encoder.options={{made: list}}"], r"makes a list; \[2, 3\] is needed"),
        ([MINE, RANDOM, "action_encoder.options={{made: whole}}"], r"makes \[2, 3, 16, 40, 40\]; "),
        ([MINE, RANDOM, "action_encoder.options={{made: needs 8 frames}}"], r"forward .* fails: 8 frames are needed"),
        (
            ["frame_encoder.variant=dry_run_net:Mean", "frame_encoder.weights=random"],
            r"frame_encoder.variant .*Mean: forward .* on frames \[2, 3, 40, 40\] fails: ",
        ),
        (["action_encoder.options={{nonsense: 1}}"], "action_encoder.variant tiny: .*unexpected.*'nonsense'"),
        (["frame_encoder.options={{nonsense: 1}}"], "frame_encoder.variant tiny: .*unexpected.*'nonsense'"),
        (
            ["action_encoder.variant=r3d_18", "action_encoder.weights=tclr:{}/other.pt"],
            "action_encoder.weights tclr:.*no tensor .*see `finepseudo weights",
        ),
        (
            ["action_encoder.variant=r3d_18", "action_encoder.weights=tclr:{}/page.pt"],
            "action_encoder.weights .*page.pt: not loadable as plain tensors",
        ),
    ],
)
def test_what_weights_hold_and_what_a_class_takes_is_looked_at_first(files, keys, problem, capsys, tmp_path):
    """By the dry run, the check and the run itself, which leaves no folder."""
    line = ["--recipe", "smoke", f"out={tmp_path}/out", *(key.format(files) for key in keys)]
    for command in (["run", "--dry-run"], ["check"], *([["run"]] if problem else [])):
        assert main([*command, *line]) == (2 if problem else 0)
        said = capsys.readouterr()
        found = [text for text in (said.out + said.err).splitlines() if text.startswith(("PROBLEM ", "error: "))]
        assert len(found) == bool(problem), said
        assert not problem or re.search(problem, found[0]), found[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["run", "submit"])
def test_nothing_begins_without_the_weights_it_starts_from(command, capsys, tmp_path):
    given = [command, "--recipe", "diving48", f"out={tmp_path}", "frame_encoder.weights=random"]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: action_encoder.weights: variant r2plus1d_18 needs kinetics_sup:FILE or tclr:FILE")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_shards_need_no_weights(capsys, tmp_path):
    assert main(["write-shards", "--recipe", "diving48", f"out={tmp_path}", "--dry-run"]) == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_a_method_without_f_a_needs_no_weights_of_it(capsys, tmp_path):
    given = ["methods=[supervised]", "action_encoder.weights=random"]
    assert main(["run", "--recipe", "diving48", f"out={tmp_path}", "--dry-run", *given]) == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_a_dry_run_names_shards_that_would_be_lost(capsys, tmp_path):
    small = ["data.synthetic.train_per_class=3", "data.synthetic.test_per_class=1", "resources.write_tasks=0"]
    line = ["--recipe", "smoke", f"out={tmp_path}", *small]
    assert main(["write-shards", "--part", "0/1", *line]) == 0
    run = Run(load("smoke", [f"out={tmp_path}", *small]), Reporter(tmp_path / "smoke", tensorboard=False))
    assert run_plan(run, make_plan(run), "code", {"data"}, write=True) == 1
    capsys.readouterr()
    assert main(["run", *line, "shards.short_side=96", "--dry-run"]) == 2
    said = capsys.readouterr().out
    assert "undone   data  (shards.short_side was 128, is 96)" in said
    assert "undoes 1 finished stage that took" in said
    assert "PROBLEM" in said and "use another --name, or --force" in said
    assert main(["run", *line, "shards.short_side=96", "--dry-run", "--force"]) == 0
