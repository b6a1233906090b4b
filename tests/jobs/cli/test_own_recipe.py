"""Recipes for videos of one's own: whatever the data are, the recipe loads, and says what was chosen."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.run_folder.yaml_text import parse_yaml
from jobs.cli.own_recipe import Facts, own_recipe
from jobs.config.build import build
from jobs.config.expected_input import fill_inputs
from jobs.config.recipes import read_recipe
from jobs.config.run import RunConfig

FACTS = Facts(classes=("serve", "smash"), labelled=20, pool=80, frames=60, short_side=240)


def loaded(text: str, folder: Path) -> RunConfig:
    """Load a recipe as a file of a user's."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    values = read_recipe(str(path))
    fill_inputs(values)
    return build(RunConfig, values)


@given(
    st.builds(
        Facts,
        classes=st.lists(st.text(min_size=1), min_size=1, max_size=4).map(tuple),
        labelled=st.integers(2, 10**5),
        pool=st.integers(0, 10**6),
        frames=st.integers(1, 10**4),
        short_side=st.integers(1, 4000),
    ),
    st.booleans(),
)
def test_every_recipe_loads(facts, gpu):
    values = parse_yaml(own_recipe(facts, Path("videos.csv"), gpu=gpu))
    base = values.pop("base", None)
    if base is None:
        fill_inputs(values)
        cfg = build(RunConfig, values)
        assert cfg.action_stage.self_train.steps >= 120
        assert 8 <= cfg.action_input.sampling.frames <= 20
    assert values["data"]["lists"]["all"] == str(Path("videos.csv").absolute())


@pytest.mark.parametrize("gpu", [False, True])
def test_names_that_speak_of_sides_keep_images_as_they_are(tmp_path, gpu):
    sided = Facts(classes=("swing_left", "swing_right"), labelled=20, pool=80, frames=60, short_side=240)
    for facts, flips in ((sided, False), (FACTS, True)):
        text = own_recipe(facts, tmp_path / "list.csv", gpu=gpu)
        cfg = loaded(text, tmp_path)
        found = {inputs.augment.flip for inputs in (cfg.frame_input, cfg.action_input, cfg.pretrain.input)}
        assert (found != {0.0}) == flips
        assert ("never mirrored" in text) == (not flips)


def test_without_a_pool_half_of_the_labels_make_one(tmp_path):
    text = own_recipe(
        Facts(classes=("a", "b"), labelled=40, pool=0, frames=9, short_side=90), tmp_path / "l.csv", gpu=False
    )
    cfg = loaded(text, tmp_path)
    assert cfg.split.ratio == 0.5
    assert cfg.action_input.sampling.frames == 8
    assert "half of them give theirs up" in text
