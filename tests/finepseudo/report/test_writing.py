"""The whole page: every number in its tables is recomputed from the files, another way; one file, text never markup."""

from __future__ import annotations

import json
import statistics
from collections import Counter

import pyarrow.parquet as pq
import pytest

from finepseudo.report import write_report
from shards.errors import UserError
from tests.finepseudo.report.pages import TITLES, Page, classes_of, load, page_of


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
        gains = [] if method == "supervised" else [m["top1"] - b for m, b in zip(ms, base, strict=True)]
        each = ", ".join(f"{100 * gain:+.1f}" for gain in gains) or "–"
        last = pseudo(folder, method, 1)
        labels = [count([m["accepted"] for m in last]), spread([m["precision"] for m in last])] if last else ["–", "–"]
        top1, mean_class = (spread([m[k] for m in ms]) for k in ("top1", "mean_class"))
        yield [title, str(len(ms)), top1, spread(gains, form="+.1f"), each, mean_class, *labels]


def expected_rounds(folder):
    for method in ("pseudo_label", "finepseudo"):
        for number in (0, 1):
            ms = pseudo(folder, method, number)
            names = ("coverage", "expected_precision", "precision", "precision_A", "precision_E")
            yield [
                TITLES[method],
                str(number),
                count([m["accepted"] for m in ms]),
                *(spread([m.get(n) for m in ms]) for n in names),
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
        counts = (str(roles[r]) for r in ("labelled", "unlabelled", "test", "held_out"))
        share = roles["labelled"] / (roles["labelled"] + roles["unlabelled"] + roles["held_out"])
        yield [str(seed), about["method"], f"{100 * share:.1f}", *counts, about["sha256"]]


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
    assert set(page.tables) == set(EXPECTED) | {"wall-time", "stages", "environment", "all-clips", "took"}
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


def test_the_page_is_one_file_the_same_each_time_and_whole(small):
    first = write_report(small).read_bytes()
    assert write_report(small).read_bytes() == first
    page = Page(first.decode())
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert page.tags["iframe"] == page.tags["object"] == page.tags["link"] - 1 == 0
    assert page.tags["script"] == 2, "the clips and what lays them out"
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
    assert page.tags["script"] == 2
    assert page.tags["b"] == len(page.tiles)
    assert "&lt;script&gt;alert(1)" in (small / "report.html").read_text()
