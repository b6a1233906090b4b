"""`finepseudo doctor`: lines or JSON, and the exit code that a script goes by."""

import json

import pytest

from jobs.cli import doctor
from jobs.cli.main import main
from jobs.doctor.checks import Finding


@pytest.fixture
def checks(monkeypatch):
    found = {"driver": Finding("ok", "8 GPUs"), "free disk": Finding("warn", "1 GB free", "make room")}
    monkeypatch.setattr(
        doctor, "checks_of", lambda cfg, named: [(name, lambda found=found, name=name: found[name]) for name in found]
    )
    return found


def test_one_line_a_check_and_0_without_a_failure(checks, capsys):
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok    driver        8 GPUs",
        "warn  free disk     1 GB free; make room",
        "1 ok, 1 warn, 0 fail, 0 skip",
    ]


def test_json_and_1_after_a_failure(checks, capsys):
    checks["free disk"] = Finding("fail", "0 GB free", "make room")
    assert main(["doctor", "smoke", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[1] == {
        "check": "free disk",
        "state": "fail",
        "found": "0 GB free",
        "todo": "make room",
    }


def test_the_dry_run_names_the_checks_and_a_recipe_adds_its_own(capsys):
    assert main(["doctor", "--dry-run"]) == 0
    machine = capsys.readouterr().out.split("\n")
    assert main(["doctor", "diving48", "--dry-run"]) == 0
    assert set(capsys.readouterr().out.split("\n")) - set(machine) == {"f_E weights", "f_A weights", "data"}
