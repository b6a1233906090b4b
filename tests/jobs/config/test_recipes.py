"""Recipes, their bases and what the command line lays over them."""

import pytest

from jobs.config.recipes import RECIPES, from_yaml, load, parse_override, read_recipe, to_yaml
from jobs.config.sections import ActionPretrainConfig
from shards.errors import UserError

BASES = ("base", "fine_grained", "sefar")
"""What other recipes inherit from: they name no data set."""
WHOLE = sorted(path.stem for path in RECIPES.glob("*.yaml") if path.stem not in BASES)
RENDERED = {"demo", "demo_consistency", "smoke", "bench_method", "compare_dives", "paper_small"}
"""Recipes of synthetic dives, whose encoders start from no published weights."""


@pytest.mark.parametrize("name", WHOLE)
def test_every_recipe_is_valid_and_survives_its_own_yaml(name, tmp_path):
    cfg = load(name)
    (tmp_path / "config.yaml").write_text(to_yaml(cfg))
    assert from_yaml(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize("name", BASES)
def test_a_base_needs_nothing_but_data(name):
    with pytest.raises(UserError, match="data: a value is needed"):
        load(name)
    cfg = load(name, ["data={name: csv, lists: {all: videos.csv}}"])
    assert (cfg.name, cfg.rounds, cfg.frame_stage.order.batch_size) == (name, 1 if name == "sefar" else 10, 96)


OTHER_F_E = ("sefar_", "diving48_aim")


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in RENDERED and not name.startswith(OTHER_F_E)])
def test_f_e_sees_what_the_weights_of_its_data_set_expect(name):
    for kind, channels in (("kinetics_sup", "rgb"), ("tclr", "bgr")):
        augment = load(name, [f"action_encoder.weights={kind}:/some/file.pt"]).action_input.augment
        assert augment.channels == channels
        plain = name in ("kinetics400", "ssv2", "penn_action")
        assert (augment.erase, augment.jitter) == ((0, 0) if plain else (0.25, 0.15))


def test_crops_and_erased_squares_of_f_e_are_tclrs_and_timebalances():
    """TCLR: a square of .6-1 of 240 pixels, from 240 x 320; TimeBalance: both sides in .4-1. Here a share of the area.

    TCLR erases 9 to 18 of 112 pixels each way.
    """
    assert ActionPretrainConfig().look.scale == tuple(load("diving48").action_input.augment.scale)
    for name, smallest, largest in (("diving48", 144**2, 240**2), ("kinetics400", 96 * 128, 240 * 320)):
        augment = load(name).action_input.augment
        assert augment.scale == pytest.approx((smallest / (240 * 320), largest / (240 * 320)), abs=1e-3)
    small, large = load("diving48").action_input.augment.erase_area
    assert (round(112 * small**0.5), round(112 * large**0.5)) == (9, 18)


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in RENDERED and not name.startswith("sefar_")])
def test_self_training_of_the_papers_recipes_is_five_epochs_at_any_share_of_labels(name):
    cfg = load(name)
    assert {cfg.frame_stage.self_train.epochs, cfg.action_stage.self_train.epochs} == {5}


def test_an_unknown_recipe_names_the_nearest_and_all():
    with pytest.raises(UserError, match=r"did you mean smoke\? there are base, .*, demo, .*, ssv2$"):
        load("smokey")


def test_recipes_of_ones_own_are_among_those_that_are_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dives.yaml").touch()
    with pytest.raises(UserError, match=r"did you mean dives\.yaml\? there are dives\.yaml, base, "):
        load("dives")


def test_bases_are_laid_over_each_other_and_may_not_come_back(tmp_path):
    (tmp_path / "a.yaml").write_text("base: smoke\nrounds: 3\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nsplit: {ratio: 0.5}\n")
    values = read_recipe(str(tmp_path / "b.yaml"))
    assert values["rounds"] == 3
    assert values["split"]["ratio"] == 0.5
    assert values["data"]["name"] == "synthetic_diving"

    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    with pytest.raises(UserError, match="comes back to itself: a -> b -> a"):
        read_recipe(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("content", [b"name: caf\xe9\n", b"x: " + b"[" * 5000, b"x: ["])
def test_a_recipe_that_is_no_yaml_is_one_line(tmp_path, content):
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(UserError, match=r"recipe .*mine\.yaml: cannot be read: ") as caught:
        read_recipe(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(caught.value)


def test_overrides_win_over_the_recipe_and_yaml_11_floats_are_floats():
    cfg = load("smoke", ["frame_stage.train.optim.lr=3e-4", "seeds=[4, 5]", "frame_encoder.heads=null"])
    assert cfg.frame_stage.train.optim.lr == 3e-4
    assert cfg.seeds == (4, 5)
    assert cfg.frame_encoder.heads is None


def test_an_override_needs_a_key():
    assert parse_override("a.b=[1, x]") == ("a.b", [1, "x"])
    assert parse_override("a=") == ("a", None)
