"""The notebook under docs/, cell after cell in one session, beside a small finished run and a video."""

import json
from pathlib import Path

from tests.shards.make_clips import write_numbered
from tests.small_run import write_small_run

BOOK = json.loads((Path(__file__).parents[1] / "docs" / "run.ipynb").read_text())


def test_every_cell_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_small_run(tmp_path / "runs" / "demo")
    write_numbered(tmp_path / "dive.mp4", 24)
    session: dict[str, object] = {}
    for number, cell in enumerate(BOOK["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"docs/run.ipynb, cell {number}", "exec"), session)
    assert set(session["top1"]) == {"supervised", "pseudo_label", "finepseudo"}
    assert sum(session["counts"].values()) == session["kept"].num_rows
    assert set(session["nearest"]) == set(session["keys"])
    assert "dive.mp4" in capsys.readouterr().out


def test_it_is_saved_without_output():
    code = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
