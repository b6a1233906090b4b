"""The code of docs/python.md, block after block in one session, beside a small finished run and a video."""

import re
from pathlib import Path

import finepseudo
from jobs.cli.main import main
from tests.shards.make_clips import write_numbered
from tests.small_run import write_small_run

PAGE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_small_run(tmp_path / "runs" / "demo")
    write_numbered(tmp_path / "dive.mp4", 24)
    for ending in ("safetensors", "parquet"):
        assert main(["export", "features", "runs/demo", "dive.mp4", "--out", f"features.{ending}"]) == 0
    session: dict[str, object] = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), session)
    said = capsys.readouterr().out
    assert "synthetic_diving" in said and "kept, threshold" in said
    assert (tmp_path / "labels.csv").read_text().count("\n") == session["kept"].num_rows
    assert len(session["prediction"].matches) == 1


def test_every_public_name_is_on_the_page():
    assert [name for name in finepseudo.__all__ if not re.search(rf"\b{name}\b", PAGE)] == ["FinishedRun", "Prediction"]
