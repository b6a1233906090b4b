"""The method study runs the product: its runs, its numbers from their folders, its page."""

import json

import pytest

from jobs.bench.method import config, main
from jobs.bench.method_page import differences, markdown, sections
from shards.errors import UserError

NUMBERS = {
    "DTW after GITDL": 0.5,
    "learned S after metric learning": 0.75,
    "finepseudo: accepted": 30.0,
    "finepseudo: precision": 0.9,
    "finepseudo: precision of f_E at equal count": 0.8,
    "top1 supervised": 0.5,
    "top1 finepseudo": 0.625,
}


def test_seeds_that_were_tuned_on_are_refused():
    with pytest.raises(UserError, match=r"--seeds \[3\]: the settings were chosen on these"):
        main(["--seeds", "100", "3"])


def test_a_seed_draws_videos_labels_and_training_alike(tmp_path):
    one, other = (config("bench_method", tmp_path, seed, ["rounds=1"]) for seed in (100, 101))
    assert one.folder == tmp_path / "method-seed100"
    assert (one.seeds, one.data.synthetic.seed, one.rounds) == ((100,), 100, 1)
    assert one.data.synthetic.nuisance == "medium"
    assert (other.seeds, other.data.synthetic.seed) == ((101,), 101)


def test_the_page_shows_what_is_there_and_how_often_it_shows():
    results = {7: NUMBERS, 8: {**NUMBERS, "top1 finepseudo": 0.25, "DTW after GITDL": 0.25}}
    page = markdown(results, "the command", "rounds: 2")
    assert [title.split()[0] for title, _ in sections(list(NUMBERS))] == ["Telling", "Pseudo-labels", "Top-1"]
    assert "| DTW after GITDL | 0.375 | 0.177 | 0.500 | 0.250 |" in page
    assert "| finepseudo: accepted | 30 | 0.000 | 30 | 30 |" in page
    assert "| finepseudo > supervised | 1 of 2 | -0.062 |" in page
    assert "| learned S > DTW after GITDL | 2 of 2 | +0.375 |" in page
    names = [name for name, _, _ in differences(list(NUMBERS))]
    assert names == [
        "learned S > DTW after GITDL",
        "finepseudo > supervised",
        "finepseudo: precision > f_E's at equal count",
    ]


@pytest.mark.slow
@pytest.mark.ray
def test_the_numbers_come_from_a_whole_run_and_a_second_call_runs_nothing(ray_cluster, tmp_path, capsys):
    line = ["--recipe", "smoke", "--seeds", "100", "--out", str(tmp_path)]
    small = ["data.synthetic.train_per_class=6", "data.synthetic.test_per_class=2"]
    assert main(line, small) == 0
    first = capsys.readouterr().out
    run = tmp_path / "method-seed100"
    assert (run / "report.html").is_file()
    top1 = json.loads((run / "seed-100/finepseudo/evaluation/metrics.json").read_text())["top1"]
    assert f"| top1 finepseudo | {top1:.3f} |" in first
    for name in ("learned S after metric learning", "top1 f_A alone, finepseudo", "finepseudo: precision"):
        assert f"| {name} |" in first
    before = {path: path.stat().st_mtime_ns for path in run.rglob("DONE.json")}
    assert main(line, small) == 0
    assert capsys.readouterr().out.endswith(first[first.index("# Does the method") :])
    assert {path: path.stat().st_mtime_ns for path in run.rglob("DONE.json")} == before
