"""Part files: what is written comes back, in key order, without the clips that could not be read."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finepseudo.run_folder.files import write_table
from jobs.workers.bars import _scores_of
from jobs.workers.embed import to_table
from jobs.workers.map_parts import Pool, Work, map_parts
from jobs.workers.part_files import chunks, is_whole, matrix, parts, read_embeddings, write_part
from jobs.workers.score import SCHEMA
from shards.errors import UserError


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


class Keys(frozenset):
    """Keys that may be looked up but not gone through: a pool has many more than a part."""

    def __iter__(self):
        raise AssertionError("the whole pool is read for a part")


def test_embeddings_come_back_without_bad_and_unwanted_clips(tmp_path):
    values, p = torch.randn(5, 3, 2), torch.full((5, 2), 0.5)
    valid = torch.tensor([True, False, True, True, True])
    for row in chunks(["a", "b", "c", "d", "e"], 2):
        at = ["abcde".index(key) for key in row["keys"]]
        write_table(tmp_path / row["part"], to_table(row["keys"], values[at], p[at], p[at, 0], valid[at]))
    keys, found = read_embeddings(parts(tmp_path), Keys("bcex"))
    assert keys == ["c", "e"]
    torch.testing.assert_close(found, values[[2, 4]], rtol=0, atol=0)
    assert read_embeddings(parts(tmp_path))[0] == ["a", "c", "d", "e"]
    names, none = read_embeddings(parts(tmp_path), {"b"})
    assert (names, none.shape) == ([], (0, 1, 1))


def test_class_scores_are_found_by_key(tmp_path):
    for name, keys, scores in (
        ("part-000000", ["d", "b"], [[1.0, 2.0], [3.0, 4.0]]),
        ("part-000001", ["a"], [[5.0, 6.0]]),
    ):
        columns = [pa.array(keys), pa.array(scores, SCHEMA.field("scores").type)]
        write_table(tmp_path / f"{name}.parquet", pa.table(columns, schema=SCHEMA))
    got = _scores_of(parts(tmp_path), ["a", "b", "c", "d"], 2)
    np.testing.assert_array_equal(got, [[5, 6], [3, 4], [0, 0], [1, 2]])


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_part_with_a_flipped_bit_or_cut_anywhere_is_never_read_and_made_again(tmp_path_factory, at, bit, cut):
    folder = tmp_path_factory.mktemp("parts")
    path, p = folder / "part-000000.parquet", torch.full((2, 2), 0.5)
    write_part(path, to_table(["a", "b"], torch.randn(2, 3, 2), p, p[:, 0], torch.ones(2, dtype=torch.bool)))
    assert is_whole(path)
    data = bytearray(path.read_bytes())
    place = int(at * len(data))
    data[place] ^= 1 << bit
    path.write_bytes(data[:place] if cut else data)
    assert not is_whole(path)
    with pytest.raises(UserError, match=r"part-000000\.parquet: damaged .* the same command makes it again"):
        read_embeddings([path])
    assert parts(folder) == []
    assert (folder / "part-000000.parquet.damaged").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_only_damaged_and_missing_parts_are_made_again(ray_cluster, tmp_path, capfd):
    class Writer:
        def __init__(self, told, pool):
            self.folder = told

        def __call__(self, row):
            write_part(self.folder / row["part"], pa.table({"key": [row["part"]]}))
            return {"part": row["part"]}

    work = Work(
        worker=Writer,
        told=tmp_path,
        run=tmp_path,
        folder=tmp_path,
        pool=Pool(actors=1, cpus=1, gpu=False),
        timeout_s=60,
    )
    rows = [{"part": f"part-{number:06d}.parquet"} for number in range(5)]
    assert len(map_parts(work, rows, lambda *_: None)) == 5
    good = {path.name: path.read_bytes() for path in parts(tmp_path)}
    (tmp_path / "part-000001.parquet").write_bytes(b"PAR1")
    (tmp_path / "part-000003.parquet").unlink()
    made = map_parts(work, rows, lambda *_: None)
    assert [row["part"] for row in made] == ["part-000001.parquet", "part-000003.parquet"]
    assert {path.name: path.read_bytes() for path in parts(tmp_path)} == good
    assert "part-000001.parquet was damaged; it is made again" in capfd.readouterr().err
