"""`finepseudo reproduce`: the list, what a table needs, what is refused, and a part of one from end to end."""

import csv
import json

import pytest

from jobs.cli.main import main
from jobs.cli.reproduce_plan import counts_of, labelled_share
from jobs.config.recipes import load
from jobs.paper.cells import Size, runs_of
from jobs.paper.table import read_table, table_names


def test_without_a_table_all_are_listed(capsys):
    assert main(["reproduce"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[:-1]] == table_names()
    assert "Strategies of pseudo-labelling on Diving48 (FinePseudo (ECCV 2024), Table 6)" in "\n".join(said)


def test_on_a_machine_without_videos_it_says_what_is_missing_and_how_long_it_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "table7", "--dry-run", "--gpus", "8"]) == 2
    said = capsys.readouterr().out
    needs = [line.split("needs       ")[1] for line in said.splitlines() if line.startswith("needs")]
    assert needs[0] == "diving48: data/diving48 is not here"
    assert [text.split(" needs")[0] for text in needs[1:]] == [
        "frame_encoder.weights: variant vtn",
        "action_encoder.weights: variant r2plus1d_18",
    ]
    assert "1 node x 8 GPUs" in said
    first, second = (line for line in said.splitlines() if line.startswith("  10-percent-") and "hardest" not in line)
    assert int(second.split(": ")[1].split()[0]) < int(first.split(": ")[1].split()[0]), "what is shared counts once"
    assert main(["reproduce", "table7"]) == 2
    said = capsys.readouterr().err
    assert "reproduce: 3 things missing; --only WORD leaves runs out" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("table99", "no table is called table99; there are figure1c, sefar_ablation"),
        ("table7 --only frog", "--only frog: no row or column of table07 has it; there are 10 %, 20 %, All negatives"),
        ("table7 methods=[sefar]", "methods=[sefar]: the table says that itself"),
        ("table7 rouds=3", "rouds: unknown key; did you mean rounds?"),
    ],
)
def test_what_a_table_cannot_be_asked_for_is_one_line(line, message, capsys):
    assert main(["reproduce", *line.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "clips", "labelled"),
    [("diving48", 15_027 + 1_970, 1_503), ("kinetics400", 260_000, 24_000), ("sefar_gym99", 26_320 + 8_521, 1_316)],
)
def test_clips_are_counted_from_what_a_data_set_holds(recipe, clips, labelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load(recipe)
    counts = counts_of(cfg)
    assert (counts.clips, counts.labelled) == (clips, labelled)
    assert labelled_share(cfg) == pytest.approx(labelled / (counts.labelled + counts.unlabelled), rel=1e-3)


@pytest.mark.parametrize("name", table_names())
def test_every_run_of_a_table_has_a_known_size(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = runs_of(read_table(name), Size())
    assert [run.cfg.name for run in runs if counts_of(run.cfg) is None] == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_table_runs_from_end_to_end_and_shares_what_its_rows_have_alike(ray_cluster, tmp_path, capsys):
    """Two of the rows of Table 8, which differ in metric learning alone, and the same once more."""
    names = [f"verification-ap-percent-10-percent-{name}" for name in ("cosine-pooled", "otam")]
    line = ["reproduce", "table8", "--synthetic", *(word for name in names for word in ("--only", name))]
    line += ["--seeds", "0", f"out={tmp_path}"]
    assert main(line) == 0
    folder = tmp_path / "paper-synthetic/table08"
    first, second = (folder / name for name in names)
    for shared in ("data", "seed-0/round-00/action_encoder"):
        assert (second / shared).resolve() == (first / shared).resolve()
    assert (second / "pretrain/DONE.json").read_bytes() == (first / "pretrain/DONE.json").read_bytes()
    assert not (second / "seed-0/round-00/frame_encoder").is_symlink()
    assert json.loads((first / "seed-0/finepseudo/round-00/pseudo_metrics.json").read_text())["accepted"] > 0
    with (folder / "table08.csv").open() as stream:
        rows = {(row["row"], row["column"]): row for row in csv.DictReader(stream)}
    for name in ("Cosine, pooled", "OTAM"):
        assert 0 <= float(rows[name, "Verification AP %, 10 %"]["mean"]) <= 100
        assert 0 <= float(rows[name, "Top-1, 10 %"]["mean"]) <= 100
    assert rows["soft-DTW", "Top-1, 10 %"]["mean"] == "", "it was left out"
    assert "report.html" in {path.name for path in second.iterdir()}
    printed = capsys.readouterr().out
    assert printed.startswith("--synthetic: rendered dives")
    assert "the numbers mean nothing" in printed
    assert "starting Ray" not in printed, "there is one"
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("DONE.json")}
    assert main(line) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("DONE.json")} == done
    phases = ["reproduce", "table13", "--synthetic", "--seeds", "0", f"out={tmp_path}"]
    assert main(phases) == 0
    run = tmp_path / "paper-synthetic/table13/phase-classification"
    assert (run / "data").resolve() == (first / "data").resolve(), "runs of other tables share too"
    found = json.loads((run / "phases.json").read_text())
    assert set(found["actions"]) == {"F:S25t", "F:SpT1", "B:S25p", "R:S15p"}
    assert 0 <= found["mean"]["phase"] <= 1
    assert -1 <= found["mean"]["tau"] <= 1
    said = (tmp_path / "paper-synthetic/table13/table13.md").read_text()
    assert f"{found['mean']['phase']:.3f}" in said
