"""What the commands of stages say where they find nothing to do."""

import pytest

from jobs.cli.main import main
from tests.jobs.pipeline.faked import make, run  # noqa: F401 - `make` is a fixture

SUPERVISED = ["methods=[supervised]", "seeds=[0]"]


@pytest.fixture
def finished(make, monkeypatch):  # noqa: F811
    """A finished run of a method without f_A."""
    run(make, monkeypatch, *SUPERVISED)
    monkeypatch.undo()
    return make(*SUPERVISED)[0].paths.root


@pytest.mark.parametrize("command", ["pretrain", "embed", "score"])
def test_a_stage_that_no_method_asks_for_is_said(finished, capsys, command):
    assert main([command, f"out={finished.parent}", "resources.workers=1"]) == 0
    assert capsys.readouterr().out == ("nothing to do: no method of this run (supervised) asks for such a stage\n")


def test_a_command_whose_stages_are_done_says_so(finished, capsys):
    assert main(["evaluate", f"out={finished.parent}"]) == 0
    assert capsys.readouterr().out == "nothing to do: every stage is done\n"


def test_the_report_of_a_run_is_asked_for_by_folder_or_by_name(finished, capsys):
    said = []
    for line in (
        [str(finished)],
        [finished.name, f"out={finished.parent}"],
        ["--name", "smoke", f"out={finished.parent}"],
    ):
        assert main(["report", *line]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    assert said[0].endswith(f"report: {finished}/report.html\n")
