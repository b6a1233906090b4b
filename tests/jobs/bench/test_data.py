"""The data benchmark as a command: its page at the smallest size, its verdicts, its refusals. No time is judged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from finepseudo.bench.race import Target
from jobs.bench.data import FIGURES, PEER, Figure
from jobs.cli.main import main


def cells(page: str) -> dict[str, list[str]]:
    """Read the rows of the first table: figure -> must, aim, measured, spread, verdict."""
    table = page[page.index("| figure") :].split("\n\n", maxsplit=1)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.slow
def test_the_quick_run_fills_every_line_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "data", "--quick", "--folder", str(tmp_path / "work")]) == 0
    page = capsys.readouterr().out
    assert re.search(r"^4 clips, h264, 336 x 256, 2\d frames", page, re.MULTILINE)
    found = cells(page)
    assert len(found) == 10
    for name, (must, aim, measured, spread, verdict) in found.items():
        assert measured, name
        if spread and must:
            low, high = (float(part) for part in spread.split(" to "))
            assert low <= float(measured) <= high
            assert verdict in ("aim", "must", "MISSED")
            assert float(must) != float(aim)
    assert float(found["order and manifest of 2,000 clips, MB a rank"][2]) < 100
    given = main(["bench", "data", "--quick", "--shards", str(tmp_path / "work" / "shards")])
    assert given == 0
    assert cells(capsys.readouterr().out)["write-shards / ffmpeg"][2] == "not measured: shards were given"


@pytest.mark.slow
def test_what_is_read_for_a_gpu_is_rehearsed_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "data", "--gpu", "--quick"]) == 0
    rows = {}
    for line in capsys.readouterr().out.splitlines():
        rows |= json.loads(line)
    assert next(iter(rows)) == "dali+pyav, 1 threads, f_E"
    assert rows["pyav, 1 threads, f_A"]["clips/s"] > 0
    assert rows["pyav, 1 threads, f_A"]["by"]["pyav"] >= 24
    assert rows["training by pyav"]["data/pyav_clips"] >= 4
    if not torch.cuda.is_available():
        assert sum(rows["dali+pyav, 1 threads, f_E"]["by"].values()) >= 24
        assert "the device is cpu" in rows["dali-gpu, 1 threads, f_E"]


def test_without_a_gpu_nothing_is_read_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["bench", "data", "--gpu"]) == 2
    assert "bench data --gpu: no CUDA device here; --quick rehearses it on a CPU" in capsys.readouterr().err


def test_verdicts() -> None:
    more, less = Figure(target=Target(must=0.8, aim=1.0)), Figure(target=Target(must=2, aim=0.5), smaller=True)
    assert [more.verdict(value) for value in (0.79, 0.8, 1.0)] == ["MISSED", "must", "aim"]
    assert [less.verdict(value) for value in (2.1, 2.0, 0.5)] == ["MISSED", "must", "aim"]
    assert more.cells([1.2, 0.7, 0.9]) == ["0.80", "1.00", "0.90", "0.70 to 1.20", "must"]
    assert PEER.cells("not installed") == ["1.00", "1.50", "not installed", "", ""]
    assert all(figure.verdict(figure.target.aim) == "aim" for figure in FIGURES.values())


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["bench", "data", "--folder", str(tmp_path)]) == 2
    assert "is not empty; give another one" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "keep"
