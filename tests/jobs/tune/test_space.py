"""What a sweep searches, as its file says it."""

from pathlib import Path

import pytest

from finepseudo.methods.table import METHODS
from jobs.config.recipes import load
from jobs.tune.space import first_value, read_space, sweep_folder, to_space, with_values
from jobs.tune.tune import read_sweep
from shards.errors import UserError

ROOT = Path(__file__).parents[3]
SPACES = sorted((ROOT / "tune_spaces").glob("*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_spaces_fit_the_recipes(path):
    for recipe in ("smoke", "diving48_uniform"):  # groups of frames span the whole clip
        cfg, _ = read_sweep(load(recipe, ["seeds=[0, 1, 2]"]), path)
        assert cfg.resources.workers == 1, "left open, a trial takes one"


def test_every_method_and_every_part_of_a_run_has_a_space():
    spaces = {path.stem: read_space(path) for path in SPACES}
    assert {"alignability", "pseudo_labels", "gitdl", "action_encoder"} <= set(spaces)
    without = {"supervised", "sefar_as_released"}  # no keys; those of sefar
    without |= {"ups"}  # its spread is not known of held-out clips
    without |= {"tg_fixmatch", "timebalance", "finepseudo_sefar"}  # read other trainings of a run
    without |= {"actor_cutmix"}  # wants boxes of people
    assert {space.method for space in spaces.values()} - {""} == set(METHODS) - without
    searched = {key.rpartition(".")[2] for key in spaces["pseudo_labels"].space}
    assert searched == {"tau", "theta", "fuse", "gallery_per_class"}


def test_margins_of_either_norm_reach_as_far_and_the_learning_rate_lies_inside():
    space = read_space(ROOT / "tune_spaces" / "alignability.yaml")
    low, high = space.space["frame_stage.train.optim.lr"]["loguniform"]
    assert low < load("diving48").frame_stage.train.optim.lr < high
    pairs = [(loss["norm"], loss["margin"]) for loss in space.space["frame_stage.loss"]["choice"]]
    raw = {norm: [margin * (32 if norm == "T" else 1) for n, margin in pairs if n == norm] for norm in ("none", "T")}
    assert max(raw["T"]) == pytest.approx(max(raw["none"]))


def test_keys_searched_together_are_laid_under_single_ones():
    cfg = load("smoke", ["frame_stage.loss.gamma=0.01"])
    loss = {"frame_stage.loss.omega": 2.0, "frame_stage.loss": {"norm": "none", "margin": 1.6}}
    made = with_values(cfg, loss).frame_stage.loss
    assert (made.omega, made.norm, made.margin, made.gamma) == (2.0, "none", 1.6, 0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {pseudo_labels.theta: {uniform: [0, 1]}}", "pseudo_labels.theta = .* is not searched here"),
        ("space: {frame_stage.loss.margin: {unifrom: [0, 1]}}", "one of uniform, loguniform"),
        ("space: {}\nsamples: 0", "must be at least 1"),
        ("space: {}\nholdout: 1.0", r"holdout = 1.0: must be in \(0, 1\)"),
        ("spce: {}", "unknown key"),
        ("space: {}\nscheduler: pbt", "scheduler"),
        ("space: {}\ntrains: action_encoder\nmethod: finepseudo", "goes not with trains: action_encoder; one of empty"),
        ("space: {}\ntrains: votes", "goes not with trains: votes; one of pseudo_label"),
        ("trains: votes\nmethod: ups\nspace: {method.finepseudo.tau: 1}", "begin with embed.* or method.ups"),
        ("search: optuna\nspace: {frame_stage.loss.omega: {grid_search: [1]}}", "which optuna does not walk through"),
        ("- 1", "must be a section"),
        ("space: [", "cannot be read"),
    ],
)
def test_bad_spaces_are_refused(tmp_path, text, message):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_space(tmp_path / "space.yaml")


OMEGA = "frame_stage.loss.omega"


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{uniform: [1]}", "must be a list of 2 numbers"),
        ("{uniform: 3}", "must be a list of 2 numbers"),
        ("{uniform: {a: 1}}", "must be a list of 2 numbers"),
        ("{uniform: [0.1, 0.2, 0.3]}", "must be a list of 2 numbers"),
        ("{quniform: [0, 1]}", "must be a list of 3 numbers"),
        ("{choice: []}", "must be a list of one or more values"),
        ("{choice: abc}", "must be a list of one or more values"),
        ("{grid_search: 3}", "must be a list of one or more values"),
        ("{uniform: [a, 1]}", "must be numbers"),
        ("{uniform: [0, .inf]}", "must be numbers"),
        ("{randint: [0.5, 2]}", "must be whole numbers"),
        ("{uniform: [2, 1]}", "must be two numbers, the smaller one first"),
        ("{randint: [2, 2]}", "must be two numbers, the smaller one first"),
        ("{loguniform: [0, 1]}", "must be two numbers above 0, the smaller one first"),
        ("{quniform: [0.1, 1, 0]}", "a step above 0 of which both ends are multiples"),
        ("{quniform: [0.1, 1, 0.3]}", "a step above 0 of which both ends are multiples"),
        ("{uniform: [-1, 1]}", "omega = -1.0: must be at least 0"),
        ("{choice: [0.1, bad]}", "omega = bad: must be a number"),
        ("{grid_search: [0.1, -3]}", "omega = -3.0: must be at least 0"),
        ("{choice: [0.1, {a: 1}]}", "omega = {a: 1}: must be a number"),
        ("null", "omega = null: must be a number"),
    ],
)
def test_a_search_that_cannot_be_drawn_from_is_refused_before_anything_is_made(tmp_path, search, message):
    """A trial would find it out, hours later: only what was drawn first was looked at."""
    (tmp_path / "space.yaml").write_text(f"space: {{{OMEGA}: {search}}}")
    with pytest.raises(UserError, match=message) as refused:
        read_sweep(load("smoke"), tmp_path / "space.yaml")
    assert str(refused.value).startswith(f"space {tmp_path / 'space.yaml'}: ")


@pytest.mark.parametrize(
    ("key", "search"),
    [
        (OMEGA, "{uniform: [0, 1]}"),
        (OMEGA, "{quniform: [0.2, 0.8, 0.2]}"),
        (OMEGA, "{quniform: [1, 4, 1]}"),
        (OMEGA, "{loguniform: [1.0e-4, 1]}"),
        (OMEGA, "{choice: [0, 1.5]}"),
        (OMEGA, "{grid_search: [3]}"),
        ("frame_encoder.dropout", "{uniform: [0, 1]}"),  # below 1, as every draw is
        ("frame_input.sampling.frames", "{randint: [1, 17]}"),  # 16 at the most
    ],
)
def test_what_is_accepted_can_be_drawn_and_is_taken_by_a_run(tmp_path, key, search):
    (tmp_path / "space.yaml").write_text(f"space: {{{key}: {search}}}")
    from ray.tune.search.variant_generator import generate_variants

    cfg, space = read_sweep(load("smoke"), tmp_path / "space.yaml")
    for _ in range(20):
        for _, drawn in generate_variants(to_space(space)):
            with_values(cfg, drawn)


def test_another_space_or_another_base_is_another_sweep(tmp_path):
    cfg, path = load("smoke", [f"out={tmp_path}"]), SPACES[0]
    space = read_space(path)
    folder = sweep_folder(cfg, path, space)
    assert folder == sweep_folder(load("smoke", [f"out={tmp_path}", "resources.workers=2"]), path, space)
    assert folder != sweep_folder(load("smoke", [f"out={tmp_path}", "split.ratio=0.3"]), path, space)


def test_a_space_is_counted_and_put_into_the_words_of_ray_tune(tmp_path):
    lr, norm = "frame_stage.train.optim.lr", "frame_stage.loss.norm"
    searched = f"{lr}: {{loguniform: [1.0e-4, 1.0e-2]}}, {norm}: {{grid_search: [T, none]}}"
    (tmp_path / "space.yaml").write_text(f"space: {{{searched}, frame_encoder.dropout: 0.2}}\nsamples: 3\n")
    space = read_space(tmp_path / "space.yaml")
    assert space.trials() == 3 * 2
    assert [first_value(value) for value in space.space.values()] == [1e-4, "T", 0.2]
    made = to_space(space)
    assert (made[lr].lower, made[lr].upper) == (1e-4, 1e-2)
    assert made[norm] == {"grid_search": ["T", "none"]}
    assert made["frame_encoder.dropout"] == 0.2


def test_a_space_that_is_not_there_is_answered_with_those_beside_it(tmp_path):
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(UserError, match=r"spce\.yaml: no such file; .* holds mine\.yaml$"):
        read_space(tmp_path / "spce.yaml")
    with pytest.raises(UserError, match=r"give a YAML file such as tune_spaces/alignability\.yaml$"):
        read_space(tmp_path / "nowhere" / "spce.yaml")
