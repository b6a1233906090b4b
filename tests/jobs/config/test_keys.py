"""Every key says what it is, what it allows and where it comes from; what is printed can be run."""

import dataclasses

import pytest
import yaml

from finepseudo.run_folder.yaml_text import parse_yaml
from jobs.config.build import plain
from jobs.config.keys import all_keys, described, explained_yaml
from jobs.config.recipes import load
from shards.errors import UserError

KEYS = {key.name: key for key in all_keys(load("diving48"))}
SETTINGS = {name: key for name, key in KEYS.items() if not key.is_section}
BOUNDED = {name: key for name, key in SETTINGS.items() if str(key.declaration.range)}


def outside(key):
    """Give a value just out of a key's range, in the form that the key takes."""
    bounds = key.declaration.range
    low = bounds.at_least if bounds.above is None else bounds.above
    number = bounds.at_most + 1 if low is None else low - 1
    if not isinstance(key.default, (list, tuple)):
        return number
    return [number] * len(key.default) if "list of" in key.type else [number]


def test_every_number_has_a_range_and_every_key_a_help():
    assert [name for name, key in SETTINGS.items() if "number" in key.type and name not in BOUNDED] == []
    assert [name for name, key in KEYS.items() if not key.declaration.text.strip()] == []


@pytest.mark.parametrize("name", sorted(BOUNDED))
def test_a_number_out_of_range_is_refused_under_its_full_name(name):
    value = outside(KEYS[name])
    with pytest.raises(UserError) as caught:
        load("diving48", [f"{name}={value:g}" if not isinstance(value, list) else f"{name}={value}"])
    assert str(caught.value).startswith(f"{name} = ")
    assert f"must be {KEYS[name].declaration.range}; the default is " in str(caught.value)


def test_defaults_are_those_of_the_section_they_stand_in():
    assert KEYS["pretrain.train.epochs"].default == 100
    assert KEYS["frame_stage.self_train.epochs"].default == 5
    assert KEYS["frame_stage.order.batch_size"].default == 96
    assert KEYS["data.name"].default is dataclasses.MISSING
    assert KEYS["data.open_world.known"].default == 0


def test_print_config_is_the_configuration_with_its_help_as_comments():
    cfg = load("kinetics400")
    text = explained_yaml(cfg)
    assert yaml.safe_load(text) == plain(cfg)
    (line,) = [number for number, line in enumerate(text.splitlines()) if line.strip().startswith("scorer_lr_factor:")][
        :1
    ]
    above = " ".join(text.splitlines()[line - 3 : line])
    assert "multiple of lr for f_S" in above
    assert "a number, above 0; default 5.0; source: open in the paper" in above


def test_a_backbone_is_a_known_name_or_a_class():
    text = described(load("smoke"), "action_encoder.variant")
    assert "one of r2plus1d_18, r3d_18, slow_r50" in text
    assert "or module:Class; default r2plus1d_18; source: paper, sec 4.1" in " ".join(text.split())


def test_keys_of_a_section_and_of_one_key():
    cfg = load("smoke")
    text = described(cfg, "frame_stage.loss.margin")
    assert text.splitlines()[0] == "frame_stage.loss.margin = 0.1"
    assert "a number, at least 0; default 0.1; source: paper, sec 4.2" in text
    section = described(cfg, "embed")
    assert {line.split(" = ")[0] for line in section.splitlines() if line[0] != " "} == {
        name for name in KEYS if name == "embed" or name.startswith("embed.")
    }
    assert len(described(cfg).splitlines()) > 2 * len(SETTINGS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("embd", "did you mean embed?"),
        ("prefetsh", "did you mean reading.prefetch?"),
        ("gallery", "in embed.gallery_per_class, embed.gallery_dtype"),
        ("qqqq", "sections: name, out, seeds, "),
    ],
)
def test_a_key_that_is_none_is_answered_with_those_that_are_meant(name, message):
    with pytest.raises(UserError) as caught:
        described(load("smoke"), name)
    assert str(caught.value).startswith(f"keys: {name}: no such key or section; {message}")


def test_a_part_of_many_names_is_answered_with_a_few():
    with pytest.raises(UserError) as caught:
        described(load("smoke"), "theta")
    assert "method.finepseudo.theta" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_print_config_keeps_odd_letters():
    cfg = load("smoke", ['out="a\\u0085b\\u2028c é"'])
    assert parse_yaml(explained_yaml(cfg)) == plain(cfg)
