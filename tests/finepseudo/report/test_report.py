"""The report: every number in its tables is recomputed from the files, another way."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finepseudo.report import render_text, summary_table, write_report
from finepseudo.report.provenance import total_wall
from finepseudo.report.reading import Done
from shards.errors import UserError
from tests.finepseudo.report.run_folder_fixture import write_run_folder

TITLES = {"supervised": "Supervised only", "pseudo_label": "Pseudo-label baseline", "finepseudo": "FinePseudo"}
SMALL = {"seeds": (3,), "n_classes": 4, "per_class": (2, 5, 3), "frames": 8, "steps": 8}


class Page(HTMLParser):
    """Tables by id as lists of cell texts (header first), tiles, warnings, notes; every href and src."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tiles, self.alarms, self.notes, self.links, self.tags = {}, [], [], [], [], Counter()
        self._stack, self._table, self._sink = [], None, None
        self.feed(text)

    def handle_starttag(self, name, attributes):
        about = dict(attributes)
        self.tags[name] += 1
        self.links += [about[a] for a in ("href", "src", "xlink:href") if a in about]
        kind = (about.get("class") or "").split()
        if name == "table":
            self._table = self.tables.setdefault(about["id"], [])
        elif name == "tr" and self._table is not None:
            self._table.append([])
        elif name in {"td", "th"} and self._table is not None:
            self._sink = self._table[-1]
            self._sink.append("")
        elif "tile" in kind:
            self.tiles.append("")
            self._sink = self.tiles
        elif name == "div" and "alarms" in kind:
            self._stack.append("alarms")
        elif name == "li" and self._stack:
            self.alarms.append("")
            self._sink = self.alarms
        elif name == "p" and "note" in kind:
            self.notes.append("")
            self._sink = self.notes

    def handle_endtag(self, name):
        if name in {"td", "th", "li"} or (name == "p" and self._sink is self.notes):
            self._sink = None
        if name == "main":
            self._stack.clear()
        if name == "ul":
            self._stack.clear()

    def handle_data(self, data):
        if self._sink is not None:
            self._sink[-1] = (self._sink[-1] + " " + data.strip()).strip()


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=[0, 1])
def folder(request, tmp_path_factory):
    return write_run_folder(tmp_path_factory.mktemp("run") / "demo", rng_seed=request.param)


@pytest.fixture
def small(tmp_path):
    return write_run_folder(tmp_path / "small", **SMALL)


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def spread(values, factor=100.0, form=".1f"):
    values = [factor * v for v in values if v is not None]
    if not values:
        return "–"
    mean = format(sum(values) / len(values), form)
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def count(values):
    return f"{values[0]:.0f}" + (" ± 0" if len(values) > 1 else "") if len(set(values)) == 1 else spread(values, 1.0)


def evaluations(folder, method):
    return [load(p) for p in sorted(folder.glob(f"seed-*/{method}/evaluation/metrics.json"))]


def pseudo(folder, method, number):
    return [load(p) for p in sorted(folder.glob(f"seed-*/{method}/round-{number:02d}/pseudo_metrics.json"))]


def expected_headline(folder):
    base = [m["top1"] for m in evaluations(folder, "supervised")]
    for method, title in TITLES.items():
        ms = evaluations(folder, method)
        gain = (
            "–"
            if method == "supervised"
            else spread([m["top1"] - b for m, b in zip(ms, base, strict=True)], form="+.1f")
        )
        last = pseudo(folder, method, 1)
        labels = [count([m["accepted"] for m in last]), spread([m["precision"] for m in last])] if last else ["–", "–"]
        top = [spread([m[k] for m in ms]) for k in ("top1", "top5", "mean_class")]
        yield [title, str(len(ms)), top[0], gain, top[1], top[2], *labels]


def expected_rounds(folder):
    for method in ("pseudo_label", "finepseudo"):
        for number in (0, 1):
            ms = pseudo(folder, method, number)
            names = ("coverage", "precision", "precision_A", "precision_E")
            yield [
                TITLES[method],
                str(number),
                count([m["accepted"] for m in ms]),
                *(spread([m[n] for m in ms]) for n in names),
            ]


def expected_labels_per_class(folder):
    truth = true_labels(folder)
    right, wrong = Counter(), Counter()
    for path in folder.glob("seed-*/finepseudo/round-01/pseudo_labels.parquet"):
        for row in pq.read_table(path).to_pylist():
            if row["accepted"]:
                (right if truth[row["key"]] == row["label"] else wrong)[row["label"]] += 1
    for i, name in enumerate(classes_of(folder)):
        n = right[i] + wrong[i]
        yield [name, str(n), str(n), str(right[i]), f"{100 * right[i] / n:.1f}" if n else "–"]


def true_labels(folder):
    table = pq.read_table(folder / "data" / "clips.parquet")
    return dict(zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True))


def classes_of(folder):
    return json.loads(pq.read_schema(folder / "data" / "clips.parquet").metadata[b"finepseudo"])["classes"]


def predictions(folder, method):
    paths = sorted(folder.glob(f"seed-*/{method}/evaluation/predictions.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def calibration_row(name, pairs):
    """pairs: (confidence, right). ECE over ten bins, written as a loop."""
    error = 0.0
    for i in range(10):
        inside = [(c, r) for c, r in pairs if i / 10 <= c < (i + 1) / 10 or (i == 9 and c == 1)]
        if inside:
            gap = statistics.fmean(c for c, _ in inside) - statistics.fmean(r for _, r in inside)
            error += len(inside) / len(pairs) * abs(gap)
    means = [statistics.fmean(x) for x in zip(*pairs, strict=True)]
    return [name, str(len(pairs)), *(f"{100 * v:.1f}" for v in (*means, error))]


def expected_calibration(folder):
    for method, title in TITLES.items():
        yield calibration_row(
            title, [(max(r["p"]), r["label"] == r["prediction"]) for r in predictions(folder, method)]
        )
    truth = true_labels(folder)
    for number in (0, 1):
        paths = folder.glob(f"seed-*/finepseudo/round-{number:02d}/pseudo_labels.parquet")
        rows = [row for path in paths for row in pq.read_table(path).to_pylist() if row["valid"]]
        pairs = [(max(r["p"]), truth[r["key"]] == r["label"]) for r in rows]
        yield calibration_row(f"FinePseudo, pool, round {number}", pairs)


def expected_per_class(folder):
    for i, name in enumerate(classes_of(folder)):
        shares = []
        for method in ("finepseudo", "supervised"):
            rows = [r for r in predictions(folder, method) if r["label"] == i]
            shares.append(100 * sum(r["prediction"] == i for r in rows) / len(rows))
        yield [name, str(len(rows)), f"{shares[0]:.1f}", f"{shares[1]:.1f}", f"{shares[0] - shares[1]:+.1f}"]


def expected_confusions(folder):
    names = classes_of(folder)
    rows = predictions(folder, "finepseudo")
    wrong = Counter((r["label"], r["prediction"]) for r in rows if r["label"] != r["prediction"])
    totals = Counter(r["label"] for r in rows)
    for (i, j), n in sorted(wrong.items(), key=lambda x: (-x[1], x[0]))[:12]:
        yield [names[i], names[j], str(n), f"{100 * n / totals[i]:.1f}"]


def expected_training(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [r for r in lines if "train/loss" in r]
    for number, stage in ((None, "pretrain"), *((n, s) for n in (0, 1) for s in ("frame_encoder", "action_encoder"))):
        group = {}
        for r in lines:
            if r["stage"] == stage and r["round"] == number:
                name = TITLES[r["method"]] if r["method"] else "all methods"
                group.setdefault(f"{name}, seed {r['seed']}", []).append(r)
        title = stage.replace("_", " ") + ("" if number is None else f", round {number}")
        for name, rs in sorted(group.items()):
            wait = statistics.fmean(r["data/wait_fraction"] for r in rs)
            losses = (f"{rs[i]['train/loss']:.4g}" for i in (0, -1))
            yield [title, name, str(rs[-1]["step"]), *losses, f"{100 * wait:.1f}"]


def expected_splits(folder):
    for seed in (0, 1):
        path = folder / f"seed-{seed}" / "split.parquet"
        about = json.loads(pq.read_schema(path).metadata[b"finepseudo"])
        roles = Counter(pq.read_table(path)["role"].to_pylist())
        counts = (str(roles[r]) for r in ("labelled", "unlabelled", "test"))
        yield [str(seed), about["method"], str(about["ratio"]), *counts, about["sha256"]]


def expected_quarantine(folder):
    rows = pq.read_table(folder / "data" / "quarantine.parquet").to_pylist()
    for reason, n in Counter(r["reason"] for r in rows).most_common():
        yield [reason, str(n), next(r["key"] for r in rows if r["reason"] == reason)]


def seconds(text):
    units = {"s": 1, "min": 60, "h": 3600}
    words = text.split()
    return sum(float(n) * units[u] for n, u in zip(words[::2], words[1::2], strict=True))


def records(folder):
    return {str(p.parent.relative_to(folder)): load(p) for p in folder.rglob("DONE.json")}


def check_times(folder, tables):
    done = records(folder)
    times = {}
    for record in done.values():
        times.setdefault(record["stage"], []).append(record["wall_s"])
    times["All stages"] = [r["wall_s"] for r in done.values()]
    rows = tables["wall-time"][1:]
    assert {r[0] for r in rows} == set(times)
    for stage, n, total, mean, longest in rows:
        assert int(n) == len(times[stage])
        assert seconds(total) == pytest.approx(sum(times[stage]), abs=0.51)
        if stage != "All stages":
            assert seconds(mean) == pytest.approx(statistics.fmean(times[stage]), abs=0.51)
            assert seconds(longest) == pytest.approx(max(times[stage]), abs=0.51)
    single = tables["stages"][1:]
    assert {r[0] for r in single} == set(done)
    for where, stage, wall, finished in single:
        assert stage == done[where]["stage"]
        assert finished == done[where]["finished_at"]
        assert seconds(wall) == pytest.approx(done[where]["wall_s"], abs=0.051)


EXPECTED = {
    "headline": expected_headline,
    "rounds": expected_rounds,
    "labels-per-class": expected_labels_per_class,
    "calibration": expected_calibration,
    "per-class": expected_per_class,
    "confusions": expected_confusions,
    "training": expected_training,
    "splits": expected_splits,
    "quarantine": expected_quarantine,
}


def test_every_number_in_every_table_comes_from_the_files(folder):
    page = page_of(folder)
    assert set(page.tables) == set(EXPECTED) | {"wall-time", "stages", "environment", "compare-methods"}
    for name, rows in EXPECTED.items():
        assert page.tables[name][1:] == list(rows(folder)), name
    check_times(folder, page.tables)
    environment = dict(page.tables["environment"][1:])
    assert environment["packages.torch"] == "2.13.0"
    assert environment["seeds"] == "0, 1"
    head = page.tables["headline"][3]
    assert page.tiles[0].startswith(head[2])
    assert page.tiles[1].startswith(head[3])
    assert page.tiles[2].startswith(head[6])
    assert page.tiles[3].startswith(head[7])


def test_the_terminal_table(small):
    values = {"supervised": 0.5, "pseudo_label": 0.625, "finepseudo": 0.75}
    for method, top1 in values.items():
        path = small / "seed-3" / method / "evaluation" / "metrics.json"
        path.write_text(json.dumps(load(path) | {"top1": top1, "mean_class": top1 / 2}))
        for number, path in enumerate(sorted(small.glob(f"seed-3/{method}/round-*/pseudo_metrics.json"))):
            path.write_text(json.dumps(load(path) | {"accepted": 7 + number, "precision": 0.875 if number else None}))
    rows = summary_table(small)
    assert [r.method for r in rows] == list(values)
    assert [r.gain.mean for r in rows] == [None, 0.125, 0.25]
    assert render_text(rows).splitlines() == [
        "method                 seeds  top-1 %  mean-class %  round 0: labels (% right)  round 1: labels (% right)",
        "---------------------  -----  -------  ------------  -------------------------  -------------------------",
        "Supervised only            1     50.0          25.0                          –                          –",
        "Pseudo-label baseline      1     62.5          31.2                      7 (–)                   8 (87.5)",
        "FinePseudo                 1     75.0          37.5                      7 (–)                   8 (87.5)",
        "(one seed)",
    ]


def test_text_without_a_method(tmp_path):
    (tmp_path / "config.yaml").write_text("seeds: [0]\n")
    assert render_text(summary_table(tmp_path)) == "no method has run yet"


@pytest.mark.parametrize(
    ("missing", "note"),
    [
        ("config.yaml", "config.yaml"),
        ("environment.json", "environment.json"),
        ("metrics.jsonl", "metrics.jsonl holds no train/loss"),
        ("data/quarantine.parquet", "not been probed"),
        ("seed-3/split.parquet", "no label split"),
        ("seed-3/*/evaluation/metrics.json", "no method has been evaluated"),
        ("seed-3/*/evaluation/predictions.parquet", "no test predictions"),
        ("seed-3/*/evaluation/examples.npz", "no example pairs"),
        ("seed-3/*/round-*/pseudo_labels.parquet", "no pseudo-label table"),
        ("seed-3/*/round-*", "no pseudo-labels have been made"),
        ("seed-3/[fps]*", "no method has run"),
        ("**/DONE.json", "no stage is done"),
        ("data/clips.parquet", None),
        ("seed-3", "no method has run"),
    ],
)
def test_a_stage_that_has_not_run_leaves_a_line(small, missing, note):
    assert not [n for n in page_of(small).notes if "Not there yet" in n]
    found = list(small.glob(missing))
    assert found
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    notes = page_of(small).notes
    if note is not None:
        assert any(n.startswith("Not there yet") and note in n for n in notes), notes


def test_a_run_that_has_only_begun(tmp_path):
    (tmp_path / "config.yaml").write_text("seeds: [0]\n")
    assert len(page_of(tmp_path).notes) >= 8


def test_no_run_is_refused_with_one_line(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(UserError, match=r"report: .*give the") as caught:
            write_report(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damaged",
    [
        "config.yaml",
        "environment.json",
        "data/clips.parquet",
        "seed-3/split.parquet",
        "seed-3/finepseudo/round-01/pseudo_labels.parquet",
        "seed-3/finepseudo/round-00/pseudo_metrics.json",
        "seed-3/finepseudo/evaluation/metrics.json",
        "seed-3/finepseudo/evaluation/predictions.parquet",
        "seed-3/finepseudo/evaluation/examples.npz",
    ],
)
def test_a_damaged_file_is_named(small, damaged):
    (small / damaged).write_bytes(b"{: [\x00 damaged")
    assert any(a.startswith("Warning") and damaged in a for a in page_of(small).alarms)


def test_a_cut_log_line_is_counted_and_a_repeated_step_counts_once(small):
    path = small / "metrics.jsonl"
    text = path.read_text()
    again = json.loads(text.splitlines()[0]) | {"train/loss": 123.0}
    path.write_text(json.dumps(again) + "\n" + text + '{"seed": 3, "sta')
    page = page_of(small)
    assert any("metrics.jsonl: 1 line(s)" in a for a in page.alarms)
    assert page.tables["training"][1:] == page_table(small, text)


def page_table(folder, log):
    (folder / "metrics.jsonl").write_text(log)
    return page_of(folder).tables["training"][1:]


def change(path, **values):
    path.write_text(json.dumps(load(path) | values))


def drop_rows(path, key):
    table = pq.read_table(path)
    pq.write_table(table.filter(np.array([not k.startswith(key) for k in table["key"].to_pylist()])), path)


def alarm_cases():
    labels = "seed-3/finepseudo/round-01/pseudo_metrics.json"

    def log(folder, **values):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"seed": 3, "method": None, "round": 0, "stage": "frame_encoder", **values}) + "\n")

    return {
        "Random start: frame_encoder and action_encoder": lambda f: None,
        "no pseudo-label was accepted in seed 3 round 1": lambda f: change(f / labels, accepted=0),
        "f_S does not fall over the observed distances (seed 3 round 0)": lambda f: log(
            f, **{"align/score_monotone": 0}
        ),
        "f_S hardly tells pairs": lambda f: log(f, **{"train/same": 0.51, "train/different": 0.5}),
        "precision fell from 90.0 to 70.0 %": lambda f: (
            change(f / labels, precision=0.7),
            change(f / labels.replace("01", "00"), precision=0.9),
        ),
        "1 test classes have no labelled clip (Back_1Som_0Twist)": lambda f: drop_rows(
            f / "seed-3/split.parquet", "dive-000-l"
        ),
        "1 of 4 classes have no test clip (Forward_1Som_1Twist)": lambda f: drop_rows(
            f / "seed-3/split.parquet", "dive-001-t"
        ),
        "3 of 40 clips (7.5 %) are in quarantine": lambda f: None,
        "5 test clips could not be decoded": lambda f: change(
            f / "seed-3/supervised/evaluation/metrics.json", n_invalid=5
        ),
        "made by 2 code versions": lambda f: change(f / "seed-3/pretrain/DONE.json", code_version="other"),
        "FinePseudo: not evaluated yet for seed 3": lambda f: (
            f / "seed-3/finepseudo/evaluation/metrics.json"
        ).unlink(),
        "only 1 of 4 classes have an accepted": lambda f: change(
            f / labels, per_class=[{"class": "Back_1Som_0Twist", "accepted": 2, "correct": 1}]
        ),
    }


def hide_the_pool(folder):
    """Make it a run on a list whose pool has no classes."""
    path = folder / "data" / "clips.parquet"
    table = pq.read_table(path)
    pool = {k for s in folder.glob("seed-*/split.parquet") for k in _keys_of(s, "unlabelled")}
    known = zip(table["key"].to_pylist(), table["label"].to_pylist(), strict=True)
    labels = [-1 if key in pool else label for key, label in known]
    pq.write_table(table.set_column(table.schema.get_field_index("label"), "label", pa.array(labels, pa.int32())), path)
    for path in folder.glob("seed-3/*/round-*/pseudo_metrics.json"):
        about = load(path)
        nobody = [{**c, "judged": 0, "correct": 0} for c in about["per_class"]]
        change(path, precision=None, precision_A=None, precision_E=None, judged=0, per_class=nobody)


def _keys_of(path, role):
    table = pq.read_table(path)
    return [k for k, r in zip(table["key"].to_pylist(), table["role"].to_pylist(), strict=True) if r == role]


def test_labels_that_nobody_can_judge_are_not_called_wrong(small):
    hide_the_pool(small)
    text = write_report(small).read_text()
    page = Page(text)
    rows = page.tables["labels-per-class"][1:]
    assert sum(int(row[1]) for row in rows) > 0
    assert [row[2:] for row in rows] == [["0", "0", "–"]] * len(rows)
    assert "of them right" not in text
    assert "nobody can say how many of the labels are right" in text
    assert "no pseudo-label table to draw" not in text
    assert " not judged" in text
    assert "label wrong (down)" not in text
    assert "hue-wrong" not in text[text.index('id="labels"') :].split("<section")[0]


def test_wall_time_counts_what_ran_side_by_side_once(small):
    done = [
        Done(stage=s, folder=s, wall_s=w, finished_at=f"2026-11-20T14:{m}:00.000+00:00", code_version="x")
        for s, w, m in (("a", 60, "01"), ("b", 120, "02"), ("c", 30, "05"))
    ]
    assert total_wall(done) == "2 min 30 s"
    assert total_wall([*done, Done(stage="d", folder="d", wall_s=9, finished_at="", code_version="x")]) == "2 min 39 s"


@pytest.mark.parametrize("text", list(alarm_cases()))
def test_a_warning_appears_when_and_only_when_it_should(small, text):
    calm = write_run_folder(small.parent / "calm", **SMALL)
    config = (calm / "config.yaml").read_text().replace("weights: null", "weights: given.safetensors")
    (calm / "config.yaml").write_text(config)
    (calm / "data" / "quarantine.parquet").unlink()
    for folder in (calm, small):  # the drawn numbers may ring by chance
        for path in folder.glob("seed-3/*/round-*/pseudo_metrics.json"):
            names = classes_of(folder)
            change(
                path, accepted=8, precision=0.8, per_class=[{"class": c, "accepted": 2, "correct": 1} for c in names]
            )
    alarm_cases()[text](small)
    assert any(text in a for a in page_of(small).alarms), page_of(small).alarms
    assert not any(text in a for a in page_of(calm).alarms)


def test_the_page_is_one_file_the_same_each_time_and_whole(small):
    first = write_report(small).read_bytes()
    assert write_report(small).read_bytes() == first
    page = Page(first.decode())
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert page.tags["script"] == page.tags["iframe"] == page.tags["object"] == 0
    assert b"http://" not in first
    assert b"https://" not in first
    assert not list(small.glob(".*.tmp"))


def test_a_page_that_cannot_be_written_leaves_nothing_behind(small):
    (small / "report.html").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*report\.html: it is a folder"):
        write_report(small)
    assert not list(small.glob(".*.tmp"))


def test_names_are_text_never_markup(small):
    path = small / "data" / "clips.parquet"
    table = pq.read_table(path)
    evil = ['<script>alert(1)</script>"', "a&b", "c", "d"]
    about = json.dumps({"dataset": "<b>x", "classes": evil, "version": "1"})
    pq.write_table(table.replace_schema_metadata({"finepseudo": about}), path)
    page = page_of(small)
    assert page.tags["script"] == page.tags["b"] - len(page.tiles) == 0
    assert "&lt;script&gt;alert(1)" in (small / "report.html").read_text()


def test_four_hundred_classes_stay_readable(tmp_path):
    folder = write_run_folder(
        tmp_path / "wide",
        n_classes=400,
        per_class=(1, 2, 2),
        seeds=(0,),
        methods=("supervised", "finepseudo"),
        steps=5,
    )
    path = write_report(folder)
    text = path.read_text()
    assert path.stat().st_size < 1_500_000
    assert "376 other classes" in text
    assert len(Page(text).tables["per-class"]) == 401


def test_absent_numbers_are_dashes_not_zeros(small):
    for path in small.glob("seed-3/*/evaluation/metrics.json"):
        change(path, top1=None, mean_class=math.nan)
    cells = page_of(small).tables["headline"][1]
    assert cells[2] == cells[5] == "–"


def test_the_threshold_of_each_method_is_its_own(folder):
    """finepseudo has .5 in the configuration, pseudo_label none there: no line is drawn for it."""
    rounds = len(list(folder.glob("seed-0/finepseudo/round-*/pseudo_metrics.json")))
    assert write_report(folder).read_text().count("θ = 0.5") == rounds


def test_what_an_earlier_configuration_left_is_not_shown(folder, tmp_path):
    """Other seeds, methods and rounds in the folder are of another run: none of their numbers goes into a table."""
    mine = shutil.copytree(folder, tmp_path / "mine")
    text = (mine / "config.yaml").read_text().replace("[0, 1]", "[1]").replace("rounds: 2", "rounds: 0")
    (mine / "config.yaml").write_text(text + "methods: [finepseudo]\n")
    (row,) = summary_table(mine)
    assert (row.title, row.seeds, [labels.round for labels in row.rounds]) == ("FinePseudo", (1,), [0])
    training = page_of(mine).tables["training"][1:]
    assert {name for _, name, *_ in training} == {"all methods, seed 1"}
    assert {title for title, *_ in training} == {"pretrain", "frame encoder, round 0", "action encoder, round 0"}


def test_what_no_method_is_called_has_a_row_too(small):
    (small / "seed-3" / "finepseudo").rename(small / "seed-3" / "mine")
    rows = summary_table(small)
    assert [row.title for row in rows] == ["Supervised only", "Pseudo-label baseline", "mine"]
