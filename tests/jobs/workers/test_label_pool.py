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

from finepseudo.methods.base import Pool
from finepseudo.methods.table import METHODS
from jobs.workers.embed import to_table
from jobs.workers.labelling import label_pool_of
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
        write_part(folder / "embeddings" / row["part"], to_table(keys, torch.randn(count, 2, 2), p, spread, valid))
        kept = [key for key, good in zip(keys, valid.tolist(), strict=True) if good]
        scores = list(rng.random((len(kept), n_classes), np.float32))
        columns = [pa.array(kept, pa.string()), pa.array(scores, SCHEMA.field("scores").type)]
        write_part(folder / "scores" / row["part"], pa.table(columns, schema=SCHEMA))
    return {f"clip-{number:06d}": number % n_classes for number in range(n)}


def label(method, folder, truth, classes=CLASSES, pool=None):
    return label_pool_of(
        method,
        method.config(),
        folder,
        embeddings=folder / "embeddings",
        scores=folder / "scores" if method.aligns else None,
        pool=frozenset(truth) if pool is None else pool,
        truth=truth,
        classes=classes,
        files={key: f"videos/{key}, a.mp4" for key in truth},
    )


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
    whole = method.vote(method.config(), Pool(usable, score, p, spread))
    for at in range(0, 40, 7):
        cut = slice(at, at + 7)
        piece = method.vote(method.config(), Pool(usable[cut], score[cut], p[cut], spread[cut]))
        np.testing.assert_array_equal(piece.accepted, whole.accepted[cut])
        np.testing.assert_array_equal(piece.p, whole.p[cut])


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
