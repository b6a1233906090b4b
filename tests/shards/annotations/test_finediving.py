import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.annotations.finediving import COARSE, FINE, read_phases, read_spot, steps_between
from shards.annotations.known_counts import KNOWN_COUNTS
from shards.errors import UserError

from .real import DATA, counts, needs_data, row, write

SPOT = DATA / "finediving" / "spot"


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_steps_cover_the_dive_without_gap_or_overlap(lengths):
    ends = np.cumsum(lengths) - 1
    names = [f"s{i}" for i in range(len(lengths))]
    steps = steps_between(names, [int(end) for end in ends[:-1]], int(ends[-1]) + 1)
    assert [last - first + 1 for _, first, last in steps] == lengths
    frames = [frame for _, first, last in steps for frame in range(first, last + 1)]
    assert frames == list(range(sum(lengths)))


@pytest.mark.parametrize("last_frames", [[3, 3], [3], [3, 9], [5, 3]])
def test_steps_that_cannot_be_are_refused(last_frames):
    with pytest.raises(ValueError, match="transitions"):
        steps_between(["a", "b", "c"], last_frames, 10)


def _pickles(folder):
    """Two training dives and a test dive in the published form: numpy arrays, a bare-number video name, upper case."""
    dives = {("01", 3): ("5253B", [1] * 4 + [7] * 6, 101), ("01", 4): ("207c", [1] * 5 + [9] * 5, 300)}
    dives[("Some_Women10m_final", 0)] = ("207c", [1] * 3 + [9] * 3 + [7] * 4, 7)
    names = {1: "Back", 7: "Entry", 9: "3.5 Soms.Tuck"}
    coarse = {
        key: {"action_type": a, "start_frame": s, "end_frame": s + len(f) - 1, "dive_score": np.float64(70.5)}
        for key, (a, f, s) in dives.items()
    }
    fine = {
        key: {
            "action_type": a,
            "frames_labels": np.array(f),
            "steps_transit_frames": np.flatnonzero(np.diff(f)),
            "sub-action-types": {i: names[i] for i in set(f)},
        }
        for key, (a, f, s) in dives.items()
    }
    keys = list(dives)
    parts = {COARSE: coarse, FINE: fine, "train_split.pkl": keys[:2], "test_split.pkl": keys[2:]}
    for name, value in parts.items():
        (folder / name).write_bytes(pickle.dumps(value, 3))
    return DatasetConfig(name="finediving", root=str(folder), videos="/f")


def test_pickled_dives(tmp_path):
    ann = load(_pickles(tmp_path))
    assert ann.classes == ["207c", "5253b"]
    assert counts(ann) == {"train": 2, "test": 1}
    clip = row(ann, "01__3")
    assert (clip["path"], clip["source"], clip["label"], clip["start"]) == ("/f/01/3", "01", 1, None)


def test_pickled_steps_become_clips_and_phases(tmp_path):
    cfg = _pickles(tmp_path)
    ann = load(DatasetConfig(name="finediving", root=cfg.root, videos="/f", task="subaction"))
    assert ann.classes == ["3.5 Soms.Tuck", "Back", "Entry"]
    assert [(c["key"], c["label"], c["start"], c["end"]) for c in ann.clips.to_pylist()][:2] == [
        ("01__3__0", 1, 0.0, 4 / 25),
        ("01__3__1", 2, 4 / 25, 10 / 25),
    ]
    assert len(ann.clips) == 7
    phases = read_phases(cfg)
    assert json.loads(phases.schema.metadata[b"finepseudo"])["phases"] == ann.classes
    assert phases.to_pylist()[0] == {"key": "01__3", "phases": [1] * 4 + [2] * 6}


def test_pickles_that_do_not_fit_together_are_refused(tmp_path):
    cfg = _pickles(tmp_path)
    (tmp_path / "train_split.pkl").write_bytes(pickle.dumps([("01", 3), ("01", 5)], 3))
    with pytest.raises(UserError, match=r"entry 2 .*'01', 5"):
        load(cfg)
    (tmp_path / "test_split.pkl").write_bytes(pickle.dumps(json.loads, 3))
    (tmp_path / "train_split.pkl").write_bytes(pickle.dumps([("01", 3)], 3))
    with pytest.raises(UserError, match=r"json\.loads, which is not allowed"):
        load(cfg)


def _record(video="a__1", frames=10, transitions=(("Back -> Entry", 4),), events=None):
    return {
        "video": video,
        "num_frames": frames,
        "num_events": len(transitions) if events is None else events,
        "events": [{"comment": comment, "frame": frame, "label": "x"} for comment, frame in transitions],
        "_source_info": {"action_type": "207c"},
    }


def _spot(folder, *records):
    for part in ("train", "val", "test"):
        write(folder / f"{part}.json", json.dumps([_record(video=f"{part}__0"), *(records if part == "train" else ())]))
    return folder


def test_json_records_out_of_order_or_incomplete(tmp_path):
    swapped = _record("a__2", 10, (("Twist -> Entry", 6), ("Back -> Twist", 2)))
    lacking = _record("a__3", 10, (("Twist -> Entry", 6),), events=2)
    broken = _record("a__4", 10, (("Back -> Twist", 2), ("Pike -> Entry", 6)))
    dives = {dive.name: dive for dive in read_spot(_spot(tmp_path, swapped, lacking, broken))}
    assert dives["a__2"].steps == (("Back", 0, 2), ("Twist", 3, 6), ("Entry", 7, 9))
    assert dives["a__3"].steps == dives["a__4"].steps == ()
    assert {name: dive.role for name, dive in dives.items() if name.endswith("__0")} == {
        "train__0": "train",
        "val__0": "train",
        "test__0": "test",
    }


@pytest.mark.parametrize(
    "record", [{}, {"video": "a"}, _record(video="noinstance"), _record(transitions=(("Back", 4),)), [], None]
)
def test_bad_json_records_are_refused(tmp_path, record):
    with pytest.raises(UserError, match=r"train\.json: 1 of 2 rows are bad: record 2"):
        read_spot(_spot(tmp_path, record))


def test_options(tmp_path):
    _spot(tmp_path)
    for options, words in (({"task": "steps"}, "task"), ({"subset": "9z"}, "no dive is left"), ({"split": 2}, "split")):
        with pytest.raises(UserError, match=words):
            load(DatasetConfig(name="finediving", root=str(tmp_path), **options))
    with pytest.raises(UserError, match="holds neither"):
        load(DatasetConfig(name="finediving", root=str(tmp_path / "x")))


@needs_data
def test_real_json_form():
    ann = load(DatasetConfig(name="finediving", root=str(SPOT)))
    assert counts(ann) == {"train": 2251, "test": 749}
    assert len(ann.classes) == 52
    clips = ann.clips.to_pylist()
    assert len({clip["source"] for clip in clips}) == 135
    only_train = {ann.classes[label] for label in range(52)} - {
        ann.classes[clip["label"]] for clip in clips if clip["role"] == "test"
    }
    assert only_train == {"109b", "201a", "201c", "303c", "409c", "5251b", "5331d", "5335d"}


@needs_data
def test_real_steps_and_phases():
    cfg = DatasetConfig(name="finediving", root=str(SPOT))
    dives = read_spot(SPOT)
    lengths = [len(dive.steps) for dive in dives]
    assert [lengths.count(n) for n in (0, 3, 4, 5)] == [4, 2208, 565, 223]
    assert (min(d.n_frames for d in dives), max(d.n_frames for d in dives)) == (63, 273)
    phases = read_phases(cfg)
    assert len(json.loads(phases.schema.metadata[b"finepseudo"])["phases"]) == 29
    n_frames = {dive.name: dive.n_frames for dive in dives}
    assert len(phases) == 2996
    assert all(len(item["phases"]) == n_frames[item["key"]] for item in phases.to_pylist())


@needs_data
@pytest.mark.parametrize(("name", "task"), [key for key in KNOWN_COUNTS if key[0].startswith("finediving")])
def test_real_counts(name, task):
    _, _, subset = name.partition("-")
    ann = load(DatasetConfig(name="finediving", root=str(SPOT), subset=subset, task=task))
    assert (ann.dataset, ann.version) == (name, task)
    by_role = {role: [] for role in ("train", "test")}
    for clip in ann.clips.to_pylist():
        by_role[clip["role"]].append(clip["label"])
    train, test = by_role.values()
    found = (len(ann.classes), len(train), len(test), len(set(train)), len(set(test)))
    assert found == KNOWN_COUNTS[name, task]


@needs_data
def test_real_subsets():
    def sizes(**options):
        return counts(load(DatasetConfig(name="finediving", root=str(SPOT), **options)))

    assert sum(sizes(subset="10m").values()) == 800
    assert sizes(subset="5253B") == {"train": 151, "test": 58}
    assert sum(sizes(task="subaction").values()) == 2208 * 3 + 565 * 4 + 223 * 5
