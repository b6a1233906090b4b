"""Part files: what is written comes back, in key order, without the clips that could not be read."""

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.run_folder.files import write_table
from jobs.workers.embed import to_table
from jobs.workers.labelling import _scores_of
from jobs.workers.part_files import chunks, matrix, parts, read_embeddings
from jobs.workers.score import SCHEMA


@given(st.sets(st.text(min_size=1, max_size=4), max_size=30), st.integers(1, 7))
def test_chunks_hold_every_key_once_in_order(keys, size):
    rows = chunks(list(keys), size)
    assert [key for row in rows for key in row["keys"]] == sorted(keys)
    assert all(len(row["keys"]) == size for row in rows[:-1])
    assert [row["part"] for row in rows] == sorted({row["part"] for row in rows})


def test_matrix_reads_slices_and_several_chunks():
    rows = np.arange(20, dtype=np.float32).reshape(5, 4)
    column = pa.chunked_array([pa.array(list(rows[:3]), pa.list_(pa.float32())), pa.array(list(rows[3:]))])
    np.testing.assert_array_equal(matrix(column), rows)
    np.testing.assert_array_equal(matrix(column.slice(2, 2)), rows[2:4])
    assert matrix(column.slice(0, 0)).shape == (0, 0)


def test_embeddings_come_back_without_bad_and_unwanted_clips(tmp_path):
    values, p = torch.randn(5, 3, 2), torch.full((5, 2), 0.5)
    valid = torch.tensor([True, False, True, True, True])
    for row in chunks(["a", "b", "c", "d", "e"], 2):
        at = ["abcde".index(key) for key in row["keys"]]
        write_table(tmp_path / row["part"], to_table(row["keys"], values[at], p[at], p[at, 0], valid[at]))
    keys, found = read_embeddings(parts(tmp_path), frozenset("bcex"))
    assert keys == ["c", "e"]
    torch.testing.assert_close(found, values[[2, 4]], rtol=0, atol=0)
    assert read_embeddings(parts(tmp_path))[0] == ["a", "c", "d", "e"]
    names, none = read_embeddings(parts(tmp_path), frozenset("b"))
    assert (names, none.shape) == ([], (0, 1, 1))


def test_class_scores_are_found_by_key(tmp_path):
    for name, keys, scores in (
        ("part-000000", ["d", "b"], [[1.0, 2.0], [3.0, 4.0]]),
        ("part-000001", ["a"], [[5.0, 6.0]]),
    ):
        columns = [pa.array(keys), pa.array(scores, SCHEMA.field("scores").type)]
        write_table(tmp_path / f"{name}.parquet", pa.table(columns, schema=SCHEMA))
    got = _scores_of(tmp_path, ["a", "b", "c", "d"], 2)
    np.testing.assert_array_equal(got, [[5, 6], [3, 4], [0, 0], [1, 2]])
