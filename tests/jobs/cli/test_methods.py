"""`finepseudo methods`: the list that users choose from."""

from __future__ import annotations

import pytest

from finepseudo.methods.table import METHODS
from jobs.cli.main import main
from jobs.cli.methods import described


def test_every_method_is_listed_with_where_it_comes_from_and_what_it_needs(capsys):
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    for name, method in METHODS.items():
        assert f"{name}: {method.title}\n    {method.paper}\n    needs: " in said
    assert len(said.splitlines()) == 3 * len(METHODS) + 1, "their keys are told of one that is named"
    assert "nothing but labelled clips" in said and "the alignability encoder" in said


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fixmatch", "encoders: all\n"), ("sefar", "encoders: all but aim_b16, videomae_b\n")],
)
def test_each_says_which_encoders_fit(name, expected):
    assert expected in described(name)


def test_one_method_is_told_with_defaults_and_sources(capsys):
    assert main(["methods", "fixmatch"]) == 0
    said = capsys.readouterr().out
    assert "method.fixmatch.tau = least confidence" in said
    assert "default 0.95; source: FixMatch" in said
    assert "method.fixmatch.strong.jitter" in said
    assert "finepseudo:" not in said


def test_presets_are_told_with_what_they_set(capsys):
    assert main(["methods", "svformer"]) == 0
    assert "preset paper: optim.name sgd, optim.lr 0.005, optim.weight_decay 0.0001" in capsys.readouterr().out


def test_an_unknown_method_is_one_clear_line(capsys):
    assert main(["methods", "fixmach"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: methods: no method is called fixmach; did you mean fixmatch? there are supervised, ")
    assert said.count("\n") == 1 and all(f", {name}" in said for name in list(METHODS)[1:])


@pytest.mark.parametrize("name", METHODS)
def test_each_can_be_described(name):
    assert described(name).startswith(f"{name}: ")
