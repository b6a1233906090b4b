"""Presets of methods: laid under what a recipe says, never over it."""

from __future__ import annotations

import json

import pytest
import yaml

from finepseudo.methods.table import METHODS
from jobs.config.recipes import from_yaml, load, to_yaml
from jobs.config.schema import recipe_schema
from jobs.pipeline.plan import make_plan
from jobs.pipeline.stages.action_encoder import ActionEncoderStage
from jobs.pipeline.stages.base import Run
from jobs.progress import Reporter
from shards.errors import UserError

PRESETS = [(name, preset) for name, method in METHODS.items() for preset in method.presets]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_preset_sets_what_it_says_and_nothing_else(name, preset):
    usual, cfg = load("smoke"), load("smoke", [f"method.{name}.preset={preset}"])
    for key, value in METHODS[name].presets[preset].items():
        found = getattr(cfg.method, name)
        for part in key.split("."):
            found = getattr(found, part)
        assert (list(found) if isinstance(found, tuple) else found) == value
    assert all(getattr(cfg.method, other) == getattr(usual.method, other) for other in METHODS if other != name)


PUBLISHED = {
    # name, rate, momentum, Nesterov, weight decay, warm-up epochs, clipping
    "ups": ("sgd", 0.03, 0.9, True, 0.0, 0, None),
    "svformer": ("sgd", 0.005, 0.9, True, 1e-4, 0, None),
    "sefar": ("sgd", 0.005, 0.9, True, 1e-3, 0, None),
    "tg_fixmatch": ("sgd", 0.2, 0.9, False, 1e-4, 30, 40.0),
    "actor_cutmix": ("sgd", 0.2, 0.9, False, 1e-4, 0, 40.0),
    "timebalance": ("adam", 1e-4, 0.9, None, 0.0, 10, None),
}
"""Optimisers of the published codes."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_optimiser_of_a_preset_is_that_of_the_published_code(name):
    optim = getattr(load("smoke", [f"method.{name}.preset=paper"]).method, name).optim
    keys = ("name", "lr", "momentum", "nesterov", "weight_decay", "warmup_epochs", "clip_norm")
    for key, wanted in zip(keys, PUBLISHED[name], strict=True):
        assert (name, key, getattr(optim, key)) == (name, key, wanted) or (optim.name, key) == ("adam", "nesterov")


def test_a_paper_or_its_code_is_what_a_preset_is_called():
    assert {preset for _, preset in PRESETS} == {"paper", "as_released"}
    assert ("sefar_as_released", "as_released") in PRESETS and ("sefar", "paper") in PRESETS


def test_what_the_recipe_says_wins(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: smoke\nmethod: {ups: {preset: paper, theta: 0.4, optim: {lr: 0.5}}}\n")
    ups = load(str(path), ["method.ups.optim.momentum=0.5"]).method.ups
    assert (ups.theta, ups.optim.lr, ups.optim.momentum) == (0.4, 0.5, 0.5)
    assert (ups.reinitialise, ups.optim.name) == (True, "sgd")
    assert load(str(path), ["method.ups.preset=null"]).method.ups.reinitialise is False


def test_the_written_configuration_holds_the_values(tmp_path):
    cfg = load("smoke", ["method.ups.preset=paper"])
    (tmp_path / "config.yaml").write_text(to_yaml(cfg))
    assert from_yaml(tmp_path / "config.yaml") == cfg
    assert "preset" not in yaml.safe_load(to_yaml(cfg))["method"]["ups"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.ups.preset=papr", "method.ups.preset = papr: must be a preset of ups; did you mean paper?"),
        (
            "method.uda.preset=paper",
            "method.uda.preset = paper: must be a preset of uda; it has none; leave the key out",
        ),
    ],
)
def test_an_unknown_preset_is_one_clear_line(override, said):
    with pytest.raises(UserError) as error:
        load("smoke", [override])
    assert str(error.value) == said


def test_editors_know_them():
    known = recipe_schema()["properties"]["method"]["properties"]
    assert known["ups"]["properties"]["preset"]["enum"] == ["paper", None]
    assert "preset" not in known["uda"]["properties"]
    json.dumps(known)


def test_a_method_trains_with_the_optimiser_it_asks_for(tmp_path):
    """At its own rate, in its own folder's identity; the other methods and round 0 keep that of the stage."""
    values = [f"out={tmp_path}", "methods=[supervised, sefar]", "seeds=[0]"]
    stages = {}
    for words in (
        [],
        ["method.sefar.preset=paper"],
        ["method.sefar.preset=paper", "action_stage.self_train.optim.lr=1"],
    ):
        cfg = load("smoke", [*values, *words])
        plan = make_plan(Run(cfg, Reporter(cfg.folder, tensorboard=False)))
        found = [stage for group in plan for stage in group if isinstance(stage, ActionEncoderStage)]
        stages[len(words)] = {stage.method.name if stage.method else "round 0": stage for stage in found}
    sefar, alone = "sefar", "supervised"
    optim = stages[1][sefar].schedule.train.optim
    assert (optim.name, optim.lr, optim.clip_norm, optim.weight_decay) == ("sgd", 0.005, None, 1e-3)
    assert stages[1][alone].schedule == stages[0][alone].schedule
    config = [{name: stage.identity.config for name, stage in stages[n].items()} for n in range(3)]
    assert config[0][sefar] != config[1][sefar] == config[2][sefar]
    assert config[0][alone] == config[1][alone] != config[2][alone]
