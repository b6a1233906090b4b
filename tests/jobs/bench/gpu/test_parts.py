"""The GPU bench rehearsed without a GPU: every part at its smallest size, limits, refusals. No time is judged."""

from __future__ import annotations

import json
import re
import subprocess
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
    found = {name: result.get("found") for name, result in results.items()}
    for precision in ("fp32", "tf32", "bf16"):
        for name in ("gitdl", "metric", "metric on kept features"):
            assert found["training"][f"{name} {precision}"]["clips/s"] > 0
        ours, shares = (found["classifier"][f"{name} {precision}"] for name in ("run", "shares"))
        bare = [found["classifier"][f"bare {precision} {layout}"] for layout in ("plain", "channels last")]
        assert shares["of the faster bare loop"] == ours["clips/s"] / max(loop["clips/s"] for loop in bare)
        assert shares["TFLOP/s"] == pytest.approx(bare[0]["TFLOP a clip"] * ours["clips/s"])
    assert list(found["classifier"])[-1] == "run bf16 deterministic"
    assert found["reading"]["pyav, 1 threads, f_E"]["bad"] == found["reading"]["dali+pyav, 1 threads, f_A"]["bad"] == {}
    assert list(found["reading"])[-1] == "dali-gpu, 1 threads, f_A, clips of 340 x 256"
    for decode in ("dali+pyav", "pyav"):
        assert 0 <= found["reading"][f"training by {decode}"]["data/wait_fraction"] <= 1
    assert found["pairs"]["training, T 32"]["gradient error"] < 1e-5
    assert "T 16, F 128, fp32" in found["alignment"]
    assert not list(tmp_path.glob("*.log"))  # logs of parts that failed only
    lines = list(visit.rows(results, "a command"))
    assert all(line.count("|") == 6 for line in lines)
    assert all(f"| no GPU, torch {torch.__version__}" in line or torch.cuda.is_available() for line in lines)
    assert any(line.startswith("| training gitdl fp32 | ms ") for line in lines)
    assert capsys.readouterr().out.rstrip().endswith(f"results: {tmp_path / 'results.json'}")


HANGS = """
import pathlib, subprocess, time
child = subprocess.Popen(["sleep", "60"])
pathlib.Path("{}").write_text(str(child.pid))
print('{{"b": 2}}', flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_a_part_that_hangs_or_dies_costs_only_itself(tmp_path: Path) -> None:
    def python(code: str, limit: float = 20, needs: tuple[str, ...] = ()) -> Part:
        return Part(command=[sys.executable, "-c", code], limit=limit, needs=needs)

    parts = {
        "hangs": python(HANGS.format(tmp_path / "child"), limit=10.1),
        "dies": python("print('something'); raise SystemExit('no such kernel')"),
        "lacks": python("", needs=("there_is_no_such_module", "there_is.no_such_module")),
        "works": python("print('chatter'); print('{\"a\": 1}')"),
    }
    results = run(parts, tmp_path, budget=60)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert (results["hangs"]["code"], results["hangs"]["found"]) == (124, {"b": 2})  # what it had is kept
    assert (results["dies"]["code"], results["dies"]["last line"]) == (1, "no such kernel")
    child = Path("/proc") / (tmp_path / "child").read_text() / "stat"  # of what the part had started
    assert not child.exists() or child.read_text().split()[2] == "Z"
    assert results["lacks"] == {"left out": "not installed: there_is_no_such_module, there_is.no_such_module"}
    assert results["works"]["found"] == {"a": 1}
    assert sorted(path.name for path in tmp_path.glob("*.log")) == ["dies.log", "hangs.log"]
    assert run({"works": parts["works"]}, tmp_path, budget=5)["works"] == {"left out": "no time left"}


def test_what_cannot_be_measured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "kernels"]) == 2
    assert "bench gpu: kernels: no such part; known: probe, pairs," in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["bench", "gpu", "probe"]) == 2
        assert "no CUDA device here; --tiny rehearses it on a CPU" in capsys.readouterr().err


def test_a_visit_has_time_for_all_that_has_no_figure_yet() -> None:
    known = visit.parts(Path(), tiny=False)
    assert sorted(name for call in visit.CALLS.values() for name in call.parts) == sorted(known)
    assert all((Path(visit.__file__).parent / name).is_file() for names in visit.TESTS.values() for name in names)
    budgets = [call.budget for call in visit.CALLS.values()]
    around = visit.START_S + visit.UNPACK_S + len(budgets) * visit.TRANSFER_S
    assert around + sum(budgets) <= visit.DEVICE_S
    assert visit.UNPACK_S + max(budgets) <= visit.COMMAND_S
    for call in visit.CALLS.values():
        new = [name for name in call.parts if name in visit.NEW]
        assert list(call.parts[: len(new)]) == new
        assert sum(known[name].limit for name in new) <= call.budget


def test_the_page_says_what_a_visit_does() -> None:
    page = (Path(visit.__file__).parent / "RESULTS.md").read_text()
    rows = re.findall(r"^\| (?:\w+: )?([\w-]+) \| (\d+) \|", page, re.MULTILINE)
    order = [name for call in visit.CALLS.values() for name in call.parts]
    assert rows == [(name, str(visit.parts(Path(), tiny=False)[name].limit)) for name in order]
    for name, call in visit.CALLS.items():
        assert f"python3 -m tests.gpu.visit {name} --out" in page
        assert f"{call.budget} s of the {name}" in page
    assert f"make {visit.START_S + 2 * visit.TRANSFER_S + visit.UNPACK_S + 250 + 480} s" in page


WITHOUT = """
import sys, pytest
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("av", "webdataset", "nvidia", "ray"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-rs", "--collect-only", "tests/gpu"]))
"""


@pytest.mark.slow
def test_gpu_tests_are_collected_where_nothing_is_installed() -> None:
    root = Path(visit.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "test_a_step_on_a_gpu_waits_for_nothing" in done.stdout
    assert done.stdout.count("could not import 'av'") == 2


@pytest.mark.slow
def test_a_visit_is_rehearsed_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["visit", "--device", "cpu", "--out", str(tmp_path), "probe", "test-norm"]
    monkeypatch.setattr(sys, "argv", given)
    assert visit.main() == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["probe"]["code"], results["test-norm"]["code"]) == (0, 0)
    assert (tmp_path / "test-norm.xml").is_file()
