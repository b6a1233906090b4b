"""What must hold of every method that is listed, whoever wrote it."""

import subprocess
import sys
from dataclasses import fields

import pytest

from finepseudo.methods.base import MAIN, Embed, Label, Score, Similarity, TrainAction, TrainFrame, flat
from finepseudo.methods.table import METHODS, REFERENCE, MethodsConfig, in_order, settings, title

every_method = pytest.mark.parametrize("name", METHODS)


@every_method
def test_a_method_says_who_it_is(name):
    method = METHODS[name]
    assert method.name == name and name.isidentifier()
    assert method.title and method.paper
    assert settings(MethodsConfig(), name) == method.config()
    own = {field.name for field in fields(method.config)}
    assert set(method.training_keys) <= own
    assert method.threshold is None or method.threshold in own


@every_method
def test_every_key_is_read_by_one_kind_of_stage(name):
    method = METHODS[name]
    training, vote = method.keys_of("training"), method.keys_of("vote")
    assert f"method.{name}.optim" in training
    assert sorted([*training, *vote]) == sorted(f"method.{name}.{field.name}" for field in fields(method.config))
    assert vote == () if method.vote is None else True


@every_method
@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("last", [True, False])
def test_a_plan_asks_for_nothing_before_it_is_there(name, rounds, last):
    """Whatever the shared round 0 makes is there: f_E, and where it aligns f_A, embeddings and scores."""
    method = METHODS[name]
    trained, framed, embedded, scored, labelled = {(0, MAIN)}, {0}, {0}, {0}, set()
    compared = set()
    for group in method.plan(method.config(), rounds, last):
        for request in group:
            match request:
                case TrainAction():
                    assert request.start is None or (request.start, request.start_of) in trained
                    assert set(request.reads) <= trained
                    assert request.keys is None or set(request.keys) <= {f.name for f in fields(method.config)}
                    for side in request.side:
                        assert side.number in scored and method.aligns if isinstance(side, Score) else side in compared
                    assert request.labels is None or request.labels in labelled
                    assert 0 <= request.part < request.parts
                case TrainFrame():
                    assert method.aligns and request.number - 1 in framed
                case Embed():
                    assert (request.number, MAIN) in trained and (not request.frames or request.number in framed)
                case Score():
                    assert method.aligns and request.number in embedded
                case Similarity():
                    assert (request.number, request.of) in trained
                case Label():
                    assert method.vote is not None and request.number in embedded
                    assert request.scores == method.aligns and (not request.scores or request.number in scored)
        trained |= {(r.number, r.name) for r in group if isinstance(r, TrainAction)}
        compared |= {r for r in group if isinstance(r, Similarity)}
        framed |= {r.number for r in group if isinstance(r, TrainFrame)}
        embedded |= {r.number for r in group if isinstance(r, Embed)}
        scored |= {r.number for r in group if isinstance(r, Score)}
        labelled |= {r.number for r in group if isinstance(r, Label)}


@every_method
def test_every_method_takes_the_steps_of_all_rounds(name):
    method = METHODS[name]
    for rounds in (0, 1, 4):
        requests = flat(method.plan(method.config(), rounds, True))
        assert sum(r.times for r in requests if isinstance(r, TrainAction) and r.name == MAIN) == rounds


def test_tables_have_the_order_of_the_dict_and_take_unknown_names():
    assert in_order(["mine", "finepseudo", "alone", REFERENCE]) == [REFERENCE, "finepseudo", "alone", "mine"]
    assert title("finepseudo") == "FinePseudo"
    assert title("mine") == "mine"


def test_reading_the_methods_loads_neither_torch_nor_numpy():
    """The command line and its errors read them; torch takes seconds."""
    code = "import sys, finepseudo.methods.table; sys.exit(bool({'torch', 'numpy', 'pyarrow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
