"""A pool is labelled part by part where a method votes by row: the same table as all at once, in little memory."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from finepseudo.methods.base import Passes, Pool
from finepseudo.methods.table import METHODS
from jobs.workers.bars import PASSES
from jobs.workers.embed import to_table
from jobs.workers.labelling import ACCEPTED_SCHEMA, label_pool_of, ruled_out_items
from jobs.workers.part_files import chunks, write_part
from jobs.workers.score import SCHEMA
from shards.errors import UserError

CLASSES = [f"class {number}" for number in range(5)]
BY_ROW = [method for method in METHODS.values() if method.by_row]
ROOT = Path(__file__).parents[3]
LARGE = """
import json, resource, sys
from pathlib import Path
from tests.jobs.workers.test_label_pool import label, write_pool
from finepseudo.methods.table import METHODS
folder, n, classes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
truth = write_pool(folder, n, classes, 500)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
label(METHODS["finepseudo"], folder, truth, [str(number) for number in range(classes)])
print(json.dumps([before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def write_pool(folder, n, n_classes, size):
    """Parts of embeddings and scores of n clips, every seventh unreadable; the true labels."""
    rng = np.random.default_rng(0)
    for row in chunks([f"clip-{number:06d}" for number in range(n)], size):
        keys, count = row["keys"], len(row["keys"])
        p = torch.from_numpy(rng.dirichlet(np.full(n_classes, 0.1), count).astype(np.float32))
        valid = torch.from_numpy(np.arange(count) % 7 != 3)
        spread = torch.from_numpy(rng.random(count, np.float32) / 10)
        passes = [p, spread[:, None].expand(p.shape), p, spread[:, None].expand(p.shape) / 10]
        part = to_table(keys, torch.randn(count, 2, 2), p, spread, valid, passes)
        write_part(folder / "embeddings" / row["part"], part)
        kept = [key for key, good in zip(keys, valid.tolist(), strict=True) if good]
        scores = list(rng.random((len(kept), n_classes), np.float32))
        columns = [pa.array(kept, pa.string()), pa.array(scores, SCHEMA.field("scores").type)]
        write_part(folder / "scores" / row["part"], pa.table(columns, schema=SCHEMA))
    return {f"clip-{number:06d}": number % n_classes for number in range(n)}


def label(method, folder, truth, classes=CLASSES, pool=None, number=0, held_out=None, keep=None, **options):
    return label_pool_of(
        method,
        method.config(**options),
        folder,
        number=number,
        embeddings=folder / "embeddings",
        scores=folder / "scores" if method.aligns else None,
        pool=frozenset(truth) if pool is None else pool,
        truth=truth,
        classes=classes,
        files={key: f"videos/{key}, a.mp4" for key in truth},
        held_out=held_out,
        keep=keep,
    )


def as_passes(columns):
    return Passes(**dict(zip(PASSES, columns, strict=True)))


@pytest.mark.parametrize("method", BY_ROW, ids=lambda method: method.name)
def test_part_by_part_gives_the_table_of_all_at_once(tmp_path, method):
    truth = write_pool(tmp_path, 53, len(CLASSES), 8)
    pool = frozenset(key for key in truth if key[-1] not in "04")
    metrics = label(method, tmp_path, truth, pool=pool)
    path = tmp_path / "pseudo_labels.parquet"
    pieces, table = path.read_bytes(), pq.read_table(path)
    assert label(replace(method, by_row=False), tmp_path, truth, pool=pool) == metrics
    assert path.read_bytes() == pieces
    assert table["key"].to_pylist() == sorted(pool)
    assert 0 < metrics["accepted"] < metrics["pool"]
    accepted = pq.read_table(tmp_path / "accepted.parquet")
    assert accepted.schema.remove_metadata() == ACCEPTED_SCHEMA
    assert accepted.to_pylist() == [
        {"key": row["key"], "label": row["label"]} for row in table.to_pylist() if row["accepted"]
    ]


@pytest.mark.parametrize("method", BY_ROW, ids=lambda method: method.name)
@pytest.mark.parametrize("keep", [2, 5, 6])
def test_the_likeliest_classes_are_kept_of_the_record_and_nothing_else_is_another(tmp_path, method, keep):
    truth = write_pool(tmp_path, 53, len(CLASSES), 8)
    made = []
    for kept in (None, keep):
        metrics = label(method, tmp_path, truth, keep=kept)
        read = [pq.read_table(tmp_path / f"{name}.parquet") for name in ("pseudo_labels", "accepted")]
        made.append((metrics, (tmp_path / "pseudo_labels.csv").read_bytes(), *read))
    (*whole, full, accepted), (*other, cut, accepted_of_cut) = made
    assert whole == other
    assert accepted.equals(accepted_of_cut)
    assert full.schema == cut.schema
    lists = ["classes", "p_A", "p_E", "p"]
    assert str(full.drop_columns(lists).to_pylist()) == str(cut.drop_columns(lists).to_pylist())  # NaN is no NaN
    for row, record in zip(full.to_pylist(), cut.to_pylist(), strict=True):
        assert row["classes"] == list(range(len(CLASSES)))
        likeliest = sorted(row["classes"], key=lambda i: -row["p"][i])[:keep]
        assert record["classes"] == sorted(likeliest)
        for name in lists[1:]:
            assert record[name] == ([row[name][i] for i in sorted(likeliest)] if row[name] else [])
        assert max(record["p"]) == pytest.approx(record["confidence"])


@pytest.mark.parametrize("name", ["finepseudo", "pseudo_label"])
def test_the_csv_says_the_same_with_names(tmp_path, name):
    truth = write_pool(tmp_path, 53, len(CLASSES), 8)
    label(METHODS[name], tmp_path, truth)
    table = pq.read_table(tmp_path / "pseudo_labels.parquet").to_pylist()
    with (tmp_path / "pseudo_labels.csv").open() as file:
        found = list(csv.DictReader(file))
    assert list(found[0])[:4] == ["path", "class", "confidence", "accepted"]
    for row, told in zip(table, found, strict=True):
        assert told["path"] == f"videos/{row['key']}, a.mp4"
        assert told["class"] == (CLASSES[row["label"]] if row["valid"] else "")
        assert told["accepted"] == str(row["accepted"]).lower()
        assert float(told["confidence"]) == pytest.approx(row["confidence"], rel=1e-6)
        assert told["class_E"] == (CLASSES[row["label_E"]] if row["valid"] else "")
        assert told["class_A"] == ("" if row["label_A"] == -1 else CLASSES[row["label_A"]])
        assert (told["confidence_A"] == "") == (name == "pseudo_label")


@pytest.mark.parametrize("method", BY_ROW, ids=lambda method: method.name)
def test_a_vote_by_row_looks_at_no_other_row(method):
    rng = np.random.default_rng(1)
    p, score = rng.dirichlet(np.full(5, 0.2), 40), rng.random((40, 5))
    usable, spread = rng.random(40) > 0.1, rng.random(40) / 10
    std = np.tile(spread[:, None], p.shape[1])
    passes = [p, std, p, std / 10]
    whole = method.vote(method.config(), Pool(usable, score, p, spread, as_passes(passes)))
    for at in range(0, 40, 7):
        cut = slice(at, at + 7)
        some = as_passes([x[cut] for x in passes])
        piece = method.vote(method.config(), Pool(usable[cut], score[cut], p[cut], spread[cut], some))
        if whole.negative is not None:
            np.testing.assert_array_equal(piece.negative, whole.negative[cut])
        np.testing.assert_array_equal(piece.accepted, whole.accepted[cut])
        np.testing.assert_array_equal(piece.p, whole.p[cut])


def test_labels_of_a_whole_pool_are_balanced_before_they_are_written(tmp_path):
    """UPS in its first rounds: of every class as many as the floor allows, the surest; later rounds keep all."""
    truth = write_pool(tmp_path, 400, len(CLASSES), 64)
    ups = METHODS["ups"]
    rows = {}
    for number in (0, 1):
        method = replace(ups, config=lambda: ups.config(class_floor=3, balanced_rounds=1))
        label(method, tmp_path, truth, number=number)
        rows[number] = pq.read_table(tmp_path / "pseudo_labels.parquet").to_pylist()
    sure, kept = ([[r for r in rows[n] if r["accepted"] and r["label"] == c] for c in range(5)] for n in (1, 0))
    cap = min(map(len, sure))
    assert 3 < cap < max(map(len, sure))
    for mine, found in zip(kept, sure, strict=True):
        surest = sorted(found, key=lambda r: r["uncertainty"])[:cap]
        assert [r["key"] for r in mine] == sorted(r["key"] for r in surest)
    out = set(ruled_out_items(tmp_path / "pseudo_labels.parquet").keys)
    assert out == {row["key"] for row in rows[1] if any(row["negative"]) and not row["accepted"]}
    assert out


def test_a_pool_that_is_in_no_part_is_refused(tmp_path):
    truth = write_pool(tmp_path, 5, len(CLASSES), 8)
    with pytest.raises(UserError, match="holds no clip of the pool"):
        label(METHODS["finepseudo"], tmp_path, truth, pool=frozenset({"other"}))
    assert not (tmp_path / "pseudo_labels.parquet").exists()


@pytest.mark.slow
def test_the_drivers_memory_hardly_grows_with_the_pool(tmp_path):
    """40,000 clips x 400 classes: one table of probabilities alone is 64 MB in float32; all at once took 1.5 GB."""
    line = [sys.executable, "-c", LARGE, str(tmp_path), "40000", "400"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout.splitlines()[-1])
    assert after - before < 300_000, f"{(after - before) / 1000:.0f} MB"


@pytest.mark.parametrize("options", [{"bar": "adaptive"}, {"bar": "adaptive", "bar_by_class": True}])
@pytest.mark.parametrize("name", ["pseudo_label", "finepseudo"])
def test_an_adaptive_bar_is_that_of_the_whole_pool_whatever_the_parts(tmp_path, name, options):
    truth, method = write_pool(tmp_path, 53, len(CLASSES), 8), METHODS[name]
    pool = frozenset(key for key in truth if key[-1] not in "04")
    metrics = label(method, tmp_path, truth, pool=pool, **options)
    table = pq.read_table(tmp_path / "pseudo_labels.parquet").to_pylist()
    usable = [row for row in table if row["valid"]]
    mean = np.mean([max(row["p"]) for row in usable])
    mass = np.sum([row["p"] for row in usable], axis=0)
    bar = mean * mass / mass.max() if "bar_by_class" in options else np.full(len(CLASSES), mean)
    assert [row["accepted"] for row in usable] == [max(row["p"]) > bar[np.argmax(row["p"])] for row in usable]
    assert metrics["bar"] == {
        "kind": "adaptive",
        "lowest": pytest.approx(bar.min()),
        "highest": pytest.approx(bar.max()),
    }
    accepted = [row["confidence"] for row in table if row["accepted"]]
    assert metrics["expected_precision"] == pytest.approx(np.mean(accepted))
    assert metrics["expected_from"] == "confidence"


def test_held_out_clips_set_the_bar_and_say_how_right_labels_should_be(tmp_path):
    truth, method = write_pool(tmp_path, 53, len(CLASSES), 8), METHODS["pseudo_label"]
    label(method, tmp_path, truth)
    rows = {row["key"]: row for row in pq.read_table(tmp_path / "pseudo_labels.parquet").to_pylist() if row["valid"]}
    held = {key: int(np.argmax(row["p"])) for key, row in list(rows.items())[::3]}
    surest = max(held, key=lambda key: rows[key]["confidence"])
    held[surest] = (held[surest] + 1) % len(CLASSES)  # the surest of n is wrong: (n - 1) / n at best
    pool = frozenset(truth) - frozenset(held)
    told = {"pool": pool, "held_out": held, "bar": "calibrated"}
    metrics = label(method, tmp_path, truth, **told, precision=0.9)
    assert metrics["bar"]["lowest"] < min(rows[key]["confidence"] for key in held)
    assert metrics["expected_precision"] == pytest.approx(1 - 1 / len(held))
    assert metrics["expected_from"] == f"{len(held)} held-out clips"
    assert metrics["pool"] == len(pool)
    none = label(method, tmp_path, truth, **told, precision=1.0)
    assert (none["accepted"], none["bar"]["lowest"], none["expected_precision"]) == (0, None, None)
    with pytest.raises(UserError, match="needs held-out labelled clips"):
        label(method, tmp_path, truth, bar="calibrated")
