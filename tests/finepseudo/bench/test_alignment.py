"""The bench of the alignment engine runs from end to end and prints every row that is promised."""

from __future__ import annotations

import json
from typing import Any

import numpy
import pytest
import torch

from finepseudo.bench import alignment, alignment_gpu
from finepseudo.soft_dtw import native
from shards.errors import UserError

pytestmark = pytest.mark.skipif(native.why_missing() is not None, reason="the compiled backend is missing")


def test_the_rows_of_a_gpu_come_one_by_one_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert alignment.main(["--gpu", "--quick", "--rounds", "1"]) == 0
    found: dict[str, Any] = {}
    for line in capsys.readouterr().out.splitlines():
        found |= json.loads(line)
    assert found["training, T 32"]["gradient error"] < 1e-5
    assert found["class means, fp16"]["call"] > 0
    assert found["T 16, F 128, fp32"]["error"] < 1e-5
    peer = found["training, T 16, pysdtw"]
    assert peer.get("difference", 0) < 1e-4
    assert peer.keys() & {"ms", "left out"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_its_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"bench alignment --gpu: no CUDA device here; --quick rehearses it"):
        alignment.main(["--gpu"])


def test_an_old_numba_is_told_a_numpy_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy, "__version__", "2.5.2")
    monkeypatch.setattr(numpy, "row_stack", numpy.vstack, raising=False)
    with alignment_gpu.numpy_as_numba_knows_it():
        assert numpy.__version__ == "2.4.0"
    assert numpy.__version__ == "2.5.2"


def test_a_quick_run_prints_every_section_and_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # a peer that is always there
        a, b = torch.arange(len(x)), x.new_full((len(x),), x.shape[1], dtype=torch.int64)
        unit = torch.ops.finepseudo.soft_dtw(x, y, b, b, alignment.GAMMA, "torch")
        return unit[a, a]

    monkeypatch.setattr(alignment, "peers", lambda: {"plain": plain})
    threads = torch.get_num_threads()
    try:
        assert alignment.main(["--quick", "--rounds", "2"]) == 0
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("## ")] == [
        "## GPU",
        "## Memory of class_alignability, 800 x 6,000 pairs, 400 classes",
        "## Largest absolute error of D against float64",
        "## Forward: times faster than each peer",
        "## Training step: forward and backward of all 15 pairs of 6 videos, F 128",
        "## Gradient: relative L2 error against float64 (must 1e-5, aim 3e-6)",
    ]
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    for t, f, gallery in alignment.QUICK_SHAPES:
        errors, ratios = (row for row in rows if row[0] == f"| T {t}, F {f}, gallery {gallery}")
    names = ["plain", *alignment.FORWARD]
    if "avx512" in native.isas():
        names.insert(names.index("cpu avx2"), "cpu avx512")
        assert [cell.strip(" |").rsplit(" ", 1)[0] for cell in errors[1:]] == names
        assert len(ratios) == 1 + len(alignment.FORWARD) + 3
        assert all("(" in cell for cell in ratios[1:])  # quartiles everywhere
    verdicts = ("aim", "must", "MISSED")
    peak = next(row for row in rows if row[0].startswith("| T 32, F 128") and "%" in row[-2])
    assert peak[-2].endswith(verdicts)
    assert all(
        float(cell.strip(" |")) < 1e-5
        for row in rows
        if row[0] in {"| 32", "| 64"}
        for cell in row[1:3]
        if "e-" in cell
    )
