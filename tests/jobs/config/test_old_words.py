"""Old words of recipes are refused with the new ones; recipes of today and what is no recipe pass."""

import pytest

from finepseudo.methods.table import METHODS
from jobs.config.old_words import METHOD_NAMES, PSEUDO_LABEL_KEYS, refuse_old_words
from jobs.config.recipes import load, read_recipe
from shards.errors import UserError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"strategies": ["confidence", "mine"]},
            r"strategies: is called methods now; write methods=\[pseudo_label, mine\]",
        ),
        ({"strategies": "collaborative"}, r"write methods=\[finepseudo\]"),
        ({"strategies": 3}, r"write methods=\[\]"),
        ({"methods": ["supervised", "uncertainty"]}, "methods: uncertainty is called ups now"),
        (
            {"pseudo_labels": {"fuse": "sum"}},
            "pseudo_labels.fuse: each method has its own keys now; set method.finepseudo.fuse",
        ),
        ({"pseudo_labels": {"new": 1}}, "pseudo_labels.new: .*set method.<name>.<key>"),
        ({"pseudo_labels": None}, "pseudo_labels.theta: "),
    ],
)
def test_an_old_word_is_refused_with_the_new_one(values, message):
    with pytest.raises(UserError, match=message):
        refuse_old_words(values)


def test_the_new_words_exist():
    assert set(METHOD_NAMES.values()) <= set(METHODS)
    keys = {key for text in PSEUDO_LABEL_KEYS.values() for key in text.replace(" or ", ", ").split(", ")}
    for key in keys - {"methods"}:
        _, method, name = key.split(".")
        assert hasattr(getattr(load("smoke").method, method), name), key


@pytest.mark.parametrize(
    "values", [None, [], "text", {}, {"methods": None}, {"methods": [3, None]}, {"methods": "ups"}]
)
def test_what_is_no_old_word_passes(values):
    refuse_old_words(values)


def test_recipes_of_today_pass():
    refuse_old_words(read_recipe("diving48"))
