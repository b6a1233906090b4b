"""The training benchmark as a command, at its smallest size. No time is judged."""

from __future__ import annotations

import re

import pytest

from jobs.bench.every_encoder import ENCODERS
from jobs.cli.main import main


@pytest.mark.slow
def test_the_quick_run_fills_every_line_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "--quick"]) == 0
    page = capsys.readouterr().out
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 5
    assert re.search(r"kept features / frames, times faster \| \d+\.\d .*(aim|must|MISSED)", page)
    for name in ENCODERS:
        found = re.search(rf"\| {re.escape(name)}: 2 workers / 1, .*loss (\S+), weights (\S+) ", page)
        assert found and max(map(float, found.groups())) < 1e-5, name
        assert re.search(rf"\| {re.escape(name)}: cut off at step 0, 1 and gone on \| equal bits", page), name
    kept = re.search(r"recompute / without \| (\S+) (aim|must|MISSED)", page)
    assert kept and 0 < float(kept[1]) < 1


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--clips", "3"], ["--clips", "2"]])
def test_odd_sizes_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "train", *options])
