"""The GPU bench rehearsed without a GPU: every part at its smallest size, limits, refusals. No time is judged."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from jobs.bench.gpu.parts import Part, own_parts, run
from jobs.cli.main import main
from tests.gpu import visit


@pytest.mark.slow
def test_every_part_is_rehearsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "--tiny", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == ["began", *own_parts(tiny=True)]
    assert results["probe"]["found"]["versions"]["torch"] == torch.__version__
    for name in ("gitdl", "metric", "cross-entropy"):
        for precision in ("fp32", "tf32", "bf16"):
            assert results["training"]["found"][f"{name} {precision}"]["clips/s"] > 0
    assert results["reading"]["found"]["pyav, 1 threads, f_E"]["bad"] == {}
    assert list(results["reading"]["found"])[-1] == "dali-gpu, 1 threads, f_A, clips of 340 x 256"
    assert results["alignment"]["code"] == 0
    assert not list(tmp_path.glob("*.log"))  # logs of parts that failed only
    lines = list(visit.rows(results, "a command"))
    assert all(line.count("|") == 6 for line in lines)
    assert any(line.startswith("| training gitdl fp32 | ms ") for line in lines)
    assert capsys.readouterr().out.rstrip().endswith(f"results: {tmp_path / 'results.json'}")


@pytest.mark.slow
def test_a_part_that_hangs_or_dies_costs_only_itself(tmp_path: Path) -> None:
    def python(code: str, limit: float = 20, needs: tuple[str, ...] = ()) -> Part:
        return Part(command=[sys.executable, "-c", code], limit=limit, needs=needs)

    parts = {
        "hangs": python("import time; print('{\"b\": 2}', flush=True); time.sleep(60)", limit=10.1),
        "dies": python("print('something'); raise SystemExit('no such kernel')"),
        "lacks": python("", needs=("there_is_no_such_module", "there_is.no_such_module")),
        "works": python("print('chatter'); print('{\"a\": 1}')"),
    }
    results = run(parts, tmp_path, budget=60)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert (results["hangs"]["code"], results["hangs"]["found"]) == (124, {"b": 2})  # what it had is kept
    assert (results["dies"]["code"], results["dies"]["last line"]) == (1, "no such kernel")
    assert results["lacks"] == {"left out": "not installed: there_is_no_such_module, there_is.no_such_module"}
    assert results["works"]["found"] == {"a": 1}
    assert sorted(path.name for path in tmp_path.glob("*.log")) == ["dies.log", "hangs.log"]
    assert run({"works": parts["works"]}, tmp_path, budget=5)["works"] == {"left out": "no time left"}


def test_what_cannot_be_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "kernels"]) == 2
    assert "bench gpu: kernels: no such part; known: probe, alignment," in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["bench", "gpu", "probe"]) == 2
        assert "no CUDA device here; --tiny rehearses it on a CPU" in capsys.readouterr().err


def test_a_visit_names_files_that_are_there() -> None:
    assert set(visit.ORDER) == {*own_parts(tiny=False), *visit.TESTS}
    assert all((Path(visit.__file__).parent / name).is_file() for names in visit.TESTS.values() for name in names)


@pytest.mark.slow
def test_a_visit_is_rehearsed_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["visit", "--device", "cpu", "--out", str(tmp_path), "probe", "test-norm"]
    monkeypatch.setattr(sys, "argv", given)
    assert visit.main() == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["probe"]["code"], results["test-norm"]["code"]) == (0, 0)
    assert (tmp_path / "test-norm.xml").is_file()
