"""The JSON schema accepts what `load` accepts and refuses what it refuses."""

import jsonschema
import pytest
import yaml

from jobs.config.recipes import RECIPES
from jobs.config.schema import recipe_schema

SCHEMA = recipe_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid(path):
    assert [error.message for error in CHECK.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    "text",
    [
        "ronuds: 3",
        "frame_stage: {loss: {margn: 1}}",
        "reading: {threads: 0}",
        "reading: {max_bad_fraction: 2}",
        "seeds: [-1]",
        "seeds: 1",
        "action_encoder: {dropout: 1}",
        "action_encoder: {variant: r3d}",
        "frame_stage: {train: {optim: {lr: 0}}}",
        "frame_input: {augment: {scale: [0.5]}}",
        "frame_input: {augment: {scale: [0.5, 1.5]}}",
        "evaluate: {crops: 2}",
        "split: {per_class: 0}",
        "resources: {parallel_encoders: maybe}",
        "rounds: null",
    ],
)
def test_what_is_wrong_is_refused(text):
    assert not CHECK.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "split: {per_class: null}",
        "data: {subset: 307}",
        "resources: {parallel_encoders: true}",
        "data: {lists: {all: a.csv}}",
    ],
)
def test_what_is_right_is_accepted(text):
    assert CHECK.is_valid(yaml.safe_load(text))


def test_help_source_and_default_are_in_it():
    train = SCHEMA["properties"]["pretrain"]["properties"]["train"]["properties"]
    assert train["epochs"]["default"] == 100
    assert train["optim"]["properties"]["lr"]["description"].startswith("learning rate after warm-up")
    assert "source: open in the paper" in train["optim"]["properties"]["lr"]["description"]
