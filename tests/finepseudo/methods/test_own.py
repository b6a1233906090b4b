"""Methods of a user's own: found by import path, a section and a row like any other, refused in one line."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from finepseudo.methods.own import take_those_there
from finepseudo.methods.table import METHODS
from jobs.cli.main import main
from jobs.config.keys import described
from jobs.config.recipes import from_yaml, load, to_yaml
from shards.errors import UserError
from tests.small_run import write_small_run

MODULE = """
from dataclasses import dataclass

from finepseudo.methods.base import Method, MethodConfig, Stream
from finepseudo.methods.rounds import label_and_train, train_once
from shards.settings import setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys(MethodConfig):
    theta: float = setting(0.4, "the bar", at_least=0, below=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs(MethodConfig):
    theta: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Bare(MethodConfig):
    theta: float = 0.3


def vote(cfg, pool):
    raise NotImplementedError


def made(**said):
    usual = dict(name="mine", title="Mine", paper="none", hue="red", config=Keys, plan=label_and_train, vote=vote)
    return Method(**{**usual, "threshold": "theta", **said})


MINE = made(presets={"high": {"theta": 0.9}})
OTHER = made(name="other", vote=None)
SAME = made(title="Another with its name")
TAKEN, SPACED, PINK = made(name="finepseudo"), made(name="my own"), made(hue="pink")
PLAN, ODD = made(plan=lambda cfg: []), made(plan=lambda cfg, rounds, last: [["train"]])
ROLE = made(plan=train_once, streams=lambda cfg, request, view: (Stream(name="a", role="labeled", views=(view,)),))
LIST = made(plan=train_once, streams=lambda cfg, request, view: [])
NEEDS, BARE, DICT = made(config=Needs), made(config=Bare), made(config=dict)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """The module on the path; the table as it was afterwards."""
    (tmp_path / "own_rows.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(METHODS)
    yield tmp_path
    METHODS.clear()
    METHODS.update(before)
    sys.modules.pop("own_rows", None)


MINE, LISTED = "own_rows:MINE", "methods=[supervised, own_rows:MINE]"


def test_a_method_named_by_its_path_goes_by_its_name_from_there_on(module):
    cfg = load("smoke", [LISTED, "method.mine.theta=0.7"])
    assert cfg.methods == ("supervised", "mine") and cfg.own_methods == (MINE,)
    assert cfg.method.mine.theta == 0.7 and METHODS["mine"].title == "Mine"
    assert load("smoke", [LISTED, "method.mine.preset=high"]).method.mine.theta == 0.9
    assert load("smoke", [f"own_methods=[{MINE}]", "methods=[mine]"]).methods == ("mine",)
    assert "method.mine.theta = 0.7" in described(cfg, "method.mine")


def test_the_configuration_of_the_run_brings_it_back(module, tmp_path):
    cfg = load("smoke", [LISTED, "method.mine.theta=0.7"])
    (tmp_path / "config.yaml").write_text(to_yaml(cfg))
    assert from_yaml(tmp_path / "config.yaml") == cfg
    assert pickle.loads(pickle.dumps(cfg)) == cfg


def test_another_process_knows_it_as_soon_as_it_has_the_configuration(module):
    (module / "cfg.pickle").write_bytes(pickle.dumps(load("smoke", [LISTED, "method.mine.theta=0.7"])))
    code = (
        "import pickle, sys; cfg = pickle.load(open(sys.argv[1], 'rb'));"
        "from finepseudo.methods.table import METHODS, settings;"
        "print(METHODS['mine'].title, settings(cfg.method, 'mine').theta)"
    )
    here = f"{Path(__file__).parents[3]}:{module}"
    said = subprocess.run(
        [sys.executable, "-c", code, str(module / "cfg.pickle")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": here, "PATH": ""},
        check=True,
    )
    assert said.stdout == "Mine 0.7\n"


def test_a_finished_run_is_shown_by_its_titles_where_the_module_is_there(module):
    assert take_those_there([MINE, "gone:GONE"]).startswith("own_methods = gone:GONE: cannot be imported")
    assert METHODS["mine"].title == "Mine"
    assert take_those_there(None) == ""


def test_it_is_described_by_its_path(capsys):
    assert main(["methods", MINE]) == 0
    assert "method.mine.theta = the bar; a number, in [0, 1); default 0.4" in capsys.readouterr().out


def test_a_run_whose_module_is_not_there_is_not_to_be_started_over(module, capsys):
    run = write_small_run(module / "runs" / "small")
    config = (run / "config.yaml").read_text().replace("own_methods: []", "own_methods: ['gone_module:MINE']")
    (run / "config.yaml").write_text(config)
    for command in (["status"], ["run", "--force"], ["predict", "a.mp4"]):
        assert main([*command, "--name", "small", f"out={module}/runs"]) == 2
        said = capsys.readouterr().err
        assert "own_methods = gone_module:MINE: cannot be imported" in said and "PYTHONPATH" in said
        assert "start this one over" not in said and said.count("\n") == 1
    assert (run / "config.yaml").read_text() == config


def test_its_file_is_code_that_results_depend_on(module):
    load("smoke", [LISTED])
    assert METHODS["mine"].code == {"code of own_rows": module / "own_rows.py"}
    assert METHODS["finepseudo"].code == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["methods=[own_rows:NONE]"], "methods = own_rows:NONE: cannot be imported .*no attribute 'NONE'"),
        (["methods=[own_row:MINE]"], "methods = own_row:MINE: cannot be imported .*PYTHONPATH"),
        (["methods=[own_broken:MINE]"], "cannot be imported .No module named 'nothing_of_this_name', which it imports"),
        (["own_methods=[mine]"], "own_methods = mine: is no import path; write module:name"),
        (["methods=[own_rows:vote]"], "own_rows:vote: is no Method but function"),
        (["methods=[own_rows:Keys]"], "own_rows:Keys: is no Method but a class"),
        (["methods=[own_rows:TAKEN]"], "its name, finepseudo, is that of a method of this project"),
        (["methods=[own_rows:SPACED]"], "its name is 'my own'; take small letters"),
        (["methods=[own_rows:PINK]"], "its hue is pink; one of grey"),
        (["methods=[own_rows:NEEDS]"], "Needs.theta is not declared; write theta: <type> = setting"),
        (["methods=[own_rows:BARE]"], "Bare.theta is not declared"),
        (["methods=[own_rows:DICT]"], "config dict must be a subclass of MethodConfig"),
        (["methods=[own_rows:PLAN]"], "its plan, .*, cannot be used: .*3 were given"),
        (["methods=[own_rows:ODD]"], "'train' is no request such as TrainAction"),
        (["methods=[own_rows:ROLE]"], "stream a: role labeled: one of labelled, unlabelled, all"),
        (["methods=[own_rows:LIST]"], "streams have to be a tuple of Stream"),
        (["methods=[own_rows:MINE, own_rows:SAME]"], "is the second one with the name mine"),
        ([LISTED, "method.mine.thet=1"], "method.mine.thet: unknown key; did you mean method.mine.theta"),
        ([LISTED, "method.mine.theta=1"], r"method.mine.theta = 1(\.0)?: must be in \[0, 1\)"),
        ([LISTED, "method.mine.preset=low"], "must be a preset of mine; "),
        (["methods=own_rows:MINE"], "methods = own_rows:MINE: must be a list"),
        (["own_methods={a: b}"], "own_methods = {a: b}: must be a list"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(words, says):
    with pytest.raises(UserError, match=says) as refused:
        load("smoke", words)
    assert "\n" not in str(refused.value)
    assert "mine" not in METHODS or "mine" in str(refused.value)
