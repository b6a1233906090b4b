"""What is told of clips that could not be stored, and when there are too many of them."""

from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.config.recipes import load
from jobs.workers.write_shards import check_quarantine, say_remarks
from shards.errors import UserError


@pytest.mark.parametrize(("bad", "stops"), [(0, False), (1, False), (2, False), (3, True), (10, True)])
def test_more_bad_clips_than_the_key_allows_stop_a_run(tmp_path, bad, stops):
    path, said = tmp_path / "quarantine.parquet", []
    rows = {"path": [f"/v/{i}.mp4" for i in range(bad)], "reason": ["cut" if i else "empty" for i in range(bad)]}
    schema = pa.schema([("path", pa.string()), ("reason", pa.string())])
    pq.write_table(pa.table(rows, schema=schema), path)
    found = SimpleNamespace(clips=pa.table({"key": list(range(10))}))
    cfg = load("smoke", ["reading.max_bad_fraction=0.2"])
    if stops:
        with pytest.raises(UserError, match=rf"{bad} of 10 clips \({bad * 10}.0 %\) cannot be used"):
            check_quarantine(cfg, path, found, said.append)
    else:
        check_quarantine(cfg, path, found, said.append)
    if bad:
        lines = [line.split() for line in said[1:]]
        expected = [(bad - 1, "cut"), (1, "empty")][bad == 1 :]
        assert sorted((int(line[0]), line[1]) for line in lines) == sorted(expected)
    else:
        assert said == ["quarantine: no clip"]


def test_odd_clips_are_counted_by_reason_the_commonest_first():
    remark = lambda reason, name: {"reason": reason, "path": f"/v/{name}", "detail": "so"}  # noqa: E731
    parts = [[remark("rotated", "a")], [], [remark("short", "b"), remark("short", "c")]]
    said = []
    say_remarks([SimpleNamespace(remarks=part) for part in parts], said.append)
    assert said == ["note: 2 clips short, e.g. c: so", "note: 1 clips rotated, e.g. a: so"]
