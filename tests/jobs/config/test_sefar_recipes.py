"""The recipes of SeFAR's table: what they train, on which labels, and what they ask the user for."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from finepseudo.methods.sefar import SEFAR
from jobs.cli.dry_run import measure
from jobs.cli.main import main
from jobs.config.recipes import RECIPES, load
from shards.annotations import load as load_annotations
from shards.splits.label_split import draw_split

SHARED = Path(__file__).parents[4] / "shared" / "data"
SIZES = {
    "gym99": (99, 1316, 25004, 8521),
    "gym288": (288, 1466, 27868, 9646),
    "ub": (25, 959, 8635, 2814),
    "fx": (35, 540, 4868, 2226),
    "ub_s1": (15, 496, 4468, 1471),
    "fx_s1": (11, 189, 1703, 777),
    "ucf101": (101, 1010, 8527, 3783),
    "hmdb51": (51, 2094, 3142, 1530),
    "finediving_action": (52, None, None, None),
    "finediving_subaction": (29, None, None, None),
}
"""Recipe -> classes, labelled, unlabelled, test clips of the published lists (none are of FineDiving)."""


def recipe(name: str, *words: str):
    data = name.partition("_")[0].rstrip("0123456789") if name.startswith("finediving") else name
    root = {"ucf101": "ucf101", "hmdb51": "hmdb51/testTrainMulti_7030_splits", "finediving": "finediving"}
    lists = load(f"sefar_{name}").split.lists.removeprefix("data/")
    found = [f"data.root={SHARED / root.get(data, 'finegym')}"]
    found += [f"split.lists={SHARED / 'ssl-splits' / lists}"] if lists else []
    return load(f"sefar_{name}", [*found, *words])


def test_every_data_set_of_its_table_has_a_recipe():
    assert {path.stem.removeprefix("sefar_") for path in RECIPES.glob("sefar_*.yaml")} == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_a_recipe_trains_as_the_paper_does(name):
    cfg = load(f"sefar_{name}")
    assert cfg.methods == ("supervised", "svformer", "sefar")
    assert (cfg.action_encoder.variant, cfg.action_input.sampling.frames, cfg.action_input.augment.size) == (
        "timesformer_s",
        8,
        224,
    )
    for train in (cfg.action_stage.train, cfg.action_stage.self_train):
        optim = train.optim
        assert (optim.name, optim.lr, optim.momentum, optim.nesterov) == ("sgd", 0.005, 0.9, True)
        assert (optim.weight_decay, optim.clip_norm, train.epochs) == (1e-3, None, None)
    svformer, usual = cfg.method.svformer.optim, cfg.action_stage.self_train.optim
    assert svformer.weight_decay == 1e-4
    names = {field.name for field in fields(svformer)} - {"weight_decay"}
    assert all(getattr(svformer, name) == getattr(usual, name) for name in names), "all else is SeFAR's"
    assert cfg.action_stage.self_order.batch_size == 64
    sefar = cfg.method.sefar
    assert (sefar.mu, sefar.passes, sefar.perturb, sefar.warmup) == (3, 10, "reverse", 0)
    streams = SEFAR.streams(sefar, SEFAR.plan(sefar, 1, False)[0][0], cfg.action_input.view())
    assert [view.frames for view in streams[0].views] == [2, 2, 4]


@pytest.mark.parametrize("name", SIZES)
def test_a_dry_run_says_what_is_needed(name, capsys, tmp_path):
    assert main(["run", "--recipe", f"sefar_{name}", "--dry-run", f"out={tmp_path}", "seeds=[0]"]) == 2
    said = capsys.readouterr().out
    assert "is not here; lists and videos are not checked (set data.root)" in said
    assert "PROBLEM action_encoder.weights: variant timesformer_s needs imagenet:FILE" in said
    lists = load(f"sefar_{name}").split.lists
    assert (f"PROBLEM split.lists: {lists} is not here; give the folder of the published lists" in said) == bool(lists)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real lists are not here")
@pytest.mark.parametrize("name", SIZES)
def test_the_published_lists_are_read_as_they_are(name):
    cfg = recipe(name)
    found = load_annotations(cfg.data)
    classes, *wanted = SIZES[name]
    assert len(found.classes) == classes
    size = measure(cfg, found)
    assert not wanted[0] or [size.labelled, size.unlabelled, size.test] == wanted


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the real lists are not here")
@pytest.mark.parametrize(
    ("name", "lists", "unseen", "labelled"),
    [("gym99", "all99_10", False, 2632), ("gym288", "all288_10", True, 2933), ("ub", "UB_20", False, 1918)],
)
def test_the_other_rates_of_the_recipes_comments_are_there_too(name, lists, unseen, labelled):
    folder = SHARED / "ssl-splits" / "sefar" / "finegym" / lists
    cfg = recipe(name, f"split.lists={folder}", f"split.allow_unseen={str(unseen).lower()}")
    split = draw_split(load_annotations(cfg.data), cfg.split, 0)
    assert len(split.keys("labelled")) == labelled
    assert f"split.lists=.../{lists}" in (RECIPES / f"sefar_{name}.yaml").read_text().replace("\n# ", " ")
