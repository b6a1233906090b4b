"""The training benchmark as a command, at its smallest size. No time is judged."""

from __future__ import annotations

import re

import pytest

from jobs.cli.main import main


@pytest.mark.slow
def test_the_quick_run_fills_every_line_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "--quick"]) == 0
    page = capsys.readouterr().out
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 5
    assert re.search(r"kept features / frames, times faster \| \d+\.\d .*(aim|must|MISSED)", page)
    kept = re.search(r"recompute / without \| (\S+) (aim|must|MISSED)", page)
    assert kept and 0 < float(kept[1]) < 1


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--clips", "3"], ["--clips", "2"]])
def test_odd_sizes_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "train", *options])
