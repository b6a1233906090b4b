"""The benchmark of predictions as a command: it runs on a small run and says what it measured. No time is judged."""

import re

import pytest

from jobs.cli.main import main
from tests.shards.make_clips import write_numbered
from tests.small_run import write_small_run


@pytest.mark.slow
def test_it_says_both_rates_and_their_ratio(tmp_path, capsys):
    run = write_small_run(tmp_path / "small")
    write_numbered(tmp_path / "dive.mp4", 20)
    assert main(["bench", "predict", "--run", str(run), "--rounds", "1", str(tmp_path / "dive.mp4")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^1 videos, 1 rounds, ", said, re.M)
    assert re.search(r"^predict / reader: \d\.\d\d \(.*\) (aim|must|MISSED)$", said, re.M)


def test_without_a_run_it_is_refused(tmp_path, capsys):
    assert main(["bench", "predict", "--run", str(tmp_path), "x.mp4"]) == 2
    assert "no such run" in capsys.readouterr().err
