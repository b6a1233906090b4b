import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.annotations import load
from shards.annotations.config import DatasetConfig
from shards.annotations.finegym import Element, parse_element, read_categories
from shards.annotations.known_counts import KNOWN_COUNTS
from shards.errors import UserError

from .real import DATA, counts, needs_data, row, write

ids = st.text("abcXYZ019_-", min_size=11, max_size=11)


def _id(video, event_start, event_end, start, end):
    return f"{video}_E_{event_start:06d}_{event_end:06d}_A_{start:04d}_{end:04d}"


@settings(deadline=None)
@given(ids, *(st.integers(0, 9999) for _ in range(4)))
def test_element_ids_come_apart_by_position(video, event_start, event_end, start, end):
    element = parse_element(_id(video, event_start, event_end, start, end))
    assert element == Element(video=video, event_start=event_start, event_end=event_end, start=start, end=end)
    assert _id(video, event_start, event_end, start, end).startswith(element.event + "_A_")
    begin, stop = element.window(element.event_start)
    assert begin == event_start + start
    assert stop - begin == (end - start if end > start else 1)


@pytest.mark.parametrize("name", ["short_E_000001_000002_A_0001_0002", "A0xAXXysHUo_E_2184_2237_A_0035_0036", ""])
def test_other_ids_are_refused(name):
    with pytest.raises(ValueError, match="not an element id"):
        parse_element(name)


def _folder(tmp_path, train, val):
    """Two classes of each of three sets, with a comma in a name."""
    sets = [1, 1, 21, 21, 41, 41]
    categories = "".join(f"Clabel: {i:3d}; set: {s:2d}; Glabel: {i + 7:3d}; (X) a, b {i}\n" for i, s in enumerate(sets))
    write(tmp_path / "gym99_categories.txt", categories)
    write(tmp_path / "gym99_train_element_v1.1.txt", train)
    write(tmp_path / "gym99_val_element.txt", val)
    return tmp_path


ZERO = "-1aAb_c-EE_E_000100_000110_A_0003_0003"
LONG = "_1aAb_c-EE_E_000100_000110_A_0003_0006"


def _cfg(tmp_path, **options):
    return DatasetConfig(name="finegym", root=str(tmp_path), videos="/v", **options)


def _one(tmp_path):
    return _folder(tmp_path, f"{ZERO.replace('-1', '-11')} 2\n", f"{LONG.replace('_1', '_11', 1)} 4\n")


@pytest.mark.parametrize(
    ("cut_from", "path", "start", "end"),
    [
        ("element", "/v/-11aAb_c-EE_E_000100_000110_A_0003_0003.mp4", None, None),
        ("event", "/v/-11aAb_c-EE_E_000100_000110.mp4", 3.0, 4.0),
        ("video", "/v/-11aAb_c-EE.mp4", 103.0, 104.0),
    ],
)
def test_elements_are_cut_out_of_what_is_on_disk(tmp_path, cut_from, path, start, end):
    ann = load(_cfg(_one(tmp_path), cut_from=cut_from))
    clip = row(ann, "-11aAb_c-EE_E_000100_000110_A_0003_0003")
    assert (clip["path"], clip["start"], clip["end"]) == (path, start, end)
    assert (clip["source"], clip["role"], clip["label"]) == ("-11aAb_c-EE", "train", 2)


@pytest.mark.parametrize(("subset", "kept"), [("FX_S1", [("train", 0)]), ("UB", [("test", 0)]), ("gym99", None)])
def test_subsets_keep_their_sets_and_number_from_zero(tmp_path, subset, kept):
    ann = load(_cfg(_one(tmp_path), subset=subset))
    found = [(clip["role"], clip["label"]) for clip in ann.clips.to_pylist()]
    assert sorted(found) == (kept or [("test", 4), ("train", 2)])
    assert ann.classes[found[0][1]].startswith("(X) a, b")
    assert len(ann.classes) == (2 if kept else 6)


def test_bad_rows_and_options_are_refused(tmp_path):
    folder = _folder(tmp_path, "nonsense 1\n", "")
    with pytest.raises(UserError, match="line 1 'nonsense 1'"):
        load(_cfg(folder))
    _folder(tmp_path, f"{ZERO.replace('-1', '-11')} 6\n", "")
    with pytest.raises(UserError, match="label 6 is not below 6"):
        load(_cfg(folder))
    for options in ({"subset": "VX"}, {"version": "v2"}, {"cut_from": "clip"}, {"task": "action"}):
        with pytest.raises(UserError, match=rf"^(data\.)?{next(iter(options))}\b"):
            load(_cfg(folder, **options))


def test_categories_must_be_in_order(tmp_path):
    path = write(tmp_path / "c.txt", "Clabel: 1; set: 1; Glabel: 0; (VT) x\n")
    with pytest.raises(UserError, match="label 0 is due here"):
        read_categories(path)


QUICK = [("gym99", "v1.1"), ("gym288", "v1.0"), ("UB_S1", "v1.0")]
REST = [
    key for key in ((name.removeprefix("finegym-"), v) for name, v in KNOWN_COUNTS if "gym" in name) if key not in QUICK
]


@needs_data
@pytest.mark.parametrize(("subset", "version"), [*QUICK, *(pytest.param(*key, marks=pytest.mark.slow) for key in REST)])
def test_real_lists(subset, version):
    ann = load(_cfg(DATA / "finegym", subset=subset, version=version))
    known = KNOWN_COUNTS[f"finegym-{subset}", version]
    labels = {role: set() for role in ("train", "test")}
    for role, label in zip(ann.clips.column("role").to_pylist(), ann.clips.column("label").to_pylist(), strict=True):
        labels[role].add(label)
    assert counts(ann) == {"train": known.train, "test": known.test}
    assert (len(ann.classes), len(labels["train"]), len(labels["test"])) == (
        known.classes,
        known.train_classes,
        known.test_classes,
    )
    if (subset, version) == ("gym288", "v1.0"):
        assert set(range(288)) - labels["train"] == {138}


@needs_data
def test_real_zero_length_and_one_second_elements():
    ann = load(_cfg(DATA / "finegym", cut_from="event"))
    lines = (DATA / "finegym" / "gym99_train_element_v1.1.txt").read_text().split()[::2]
    zero = {name for name in lines if name[-4:] == name[-9:-5]}
    lengths = {clip["key"]: clip["end"] - clip["start"] for clip in ann.clips.to_pylist() if clip["role"] == "train"}
    assert len(zero) == 1873
    assert {lengths[name] for name in zero} == {1.0}
    assert sum(length == 1 for length in lengths.values()) == 14294 + 1873
    assert min(lengths.values()) == 1.0
