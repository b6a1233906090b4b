import dataclasses
import io
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from shards.annotations import load, load_phases
from shards.annotations.config import DatasetConfig
from shards.errors import UserError
from shards.synthetic.config import CLASS_SETS, NUISANCES, PROGRAMS, TAKEOFFS, SyntheticDivingConfig, parse_class
from shards.synthetic.pose import draw_timeline, video_generator
from shards.synthetic.renderer import FPS, SIZE, render
from shards.synthetic.video import encode

DEFAULT = NUISANCES["default"]


def dive(name, index=0, nuisance=DEFAULT, seed=0):
    return draw_timeline(name, nuisance, video_generator(seed, "train", name, index))


def dtw(cost):
    total = np.full((cost.shape[0] + 1, cost.shape[1] + 1), np.inf)
    total[0, 0] = 0
    for i, j in np.ndindex(cost.shape):
        total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return total[-1, -1]


def pair_precisions(spread):
    """Average precision of same-class pairs on true poses: pooled cosine, frame-wise cosine, DTW."""
    nuisance = dataclasses.replace(DEFAULT, durations=spread)
    poses, labels = [], []
    for label, name in enumerate(CLASS_SETS["dev12"]):
        for index in range(4):
            vectors = dive(name, index, nuisance).vectors()
            picked = vectors[np.linspace(0, len(vectors) - 1, 20).round().astype(int)]
            poses.append(picked / np.linalg.norm(picked, axis=1, keepdims=True))
            labels.append(label)
    poses, labels = np.array(poses), np.array(labels)
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    other = np.random.default_rng(0).choice(np.flatnonzero(~same), same.sum(), replace=False)
    chosen = np.concatenate([np.flatnonzero(same), other])
    first, second, same = first[chosen], second[chosen], same[chosen]
    pooled = poses.mean(axis=1)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    scores = (
        (pooled[first] * pooled[second]).sum(axis=1),
        (poses[first] * poses[second]).sum(axis=2).mean(axis=1),
        [-dtw(1 - poses[i] @ poses[j].T) for i, j in zip(first, second, strict=True)],
    )
    return [average_precision_score(same, score) for score in scores]


def test_alignment_tells_classes_apart_where_pooled_and_frame_wise_features_do_not():
    """The oracle of a renderer: DTW near 1 at every spread; the others fall as durations vary more."""
    gentle, normal = pair_precisions(0.25), pair_precisions(0.5)
    assert gentle[2] > 0.99
    assert normal[2] > 0.98
    assert 0.85 < gentle[0] < 0.98
    assert 0.75 < normal[0] < 0.93
    assert normal[1] < gentle[1] < gentle[2]
    assert normal[2] - max(normal[:2]) > 0.06


@pytest.mark.parametrize("takeoff", TAKEOFFS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_dive_turns_as_its_class_says_and_enters_head_first(takeoff, program):
    timeline = dive(f"{takeoff}:{program}")
    start, flights = parse_class(f"{takeoff}:{program}")
    turned = (timeline.rotation[-1] - timeline.rotation[0]) / (2 * np.pi) * start.turn
    assert turned == pytest.approx(sum(flight.somersaults for flight in flights), abs=0.02)
    assert np.cos(timeline.rotation[-1]) == pytest.approx(-1, abs=0.02)
    assert timeline.twist[-1] / (2 * np.pi) == pytest.approx(sum(flight.twists for flight in flights), abs=0.02)
    assert 28 <= len(timeline) <= 44
    names = [timeline.phases[index] for index in timeline.phase]
    assert names[0] == "prep"
    assert list(dict.fromkeys(names)) == [name for name in timeline.phases if name in names]


def test_swapped_programs_hold_the_same_phases_in_the_other_order():
    assert dive("F:SpT1").phases == ("prep", "launch", "pike", "twist", "entry", "after")
    assert dive("F:T1Sp").phases == ("prep", "launch", "twist", "pike", "entry", "after")


def images(name, index=0, nuisance=DEFAULT, seed=0):
    rng = video_generator(seed, "train", name, index)
    timeline = draw_timeline(name, nuisance, rng)
    return timeline, render(timeline, nuisance, rng)


def test_the_diver_is_in_the_image_and_dives_into_the_water():
    calm = dataclasses.replace(DEFAULT, scale=0.0, light=0.0, noise=0.0, jitter=0.0)
    timeline, frames = images("F:S25p", nuisance=calm)
    assert frames.shape == (len(timeline), SIZE, SIZE, 3)
    limbs = (abs(frames.astype(int) - [50, 70, 200]).sum(axis=-1) < 40).sum(axis=(1, 2))
    water = (abs(frames.astype(int) - [50, 120, 170]).sum(axis=-1) < 40).mean(axis=(1, 2))
    dry = timeline.times < timeline.entry - 0.1
    assert (limbs[dry] > 150).all()
    assert limbs[-1] < 50
    assert water[0] == 0
    assert water[-1] > 0.2


def test_a_video_depends_on_seed_split_class_and_index_only():
    _, frames = images("F:S25t")
    _, again = images("F:S25t")
    assert np.array_equal(frames, again)
    for other in (images("F:S25t", index=1), images("F:S25t", seed=1), images("B:S25t")):
        assert other[1].shape != frames.shape or not np.array_equal(other[1], frames)
    assert encode(frames, FPS) == encode(again, FPS)


def config(root, **options):
    synthetic = SyntheticDivingConfig(
        **{"class_set": ["F:S25t", "B:S25p"], "train_per_class": 2, "test_per_class": 1, **options}
    )
    return DatasetConfig(name="synthetic_diving", root=str(root), synthetic=synthetic)


def test_reading_renders_real_files_once(tmp_path):
    ann = load(config(tmp_path))
    paths = ann.clips["path"].to_pylist()
    before = {path: Path(path).read_bytes() for path in paths}
    assert ann.classes == ["F:S25t", "B:S25p"]
    assert ann.clips["role"].to_pylist().count("test") == 2
    phases = {row["key"]: row for row in pq.ParquetFile(tmp_path / "phases.parquet").read().to_pylist()}
    for key, path in zip(ann.clips["key"].to_pylist(), paths, strict=True):
        with av.open(io.BytesIO(before[path])) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 25)
            assert sum(1 for _ in container.decode(stream)) == len(phases[key]["phase"])
        assert phases[key]["names"][0] == "prep"
    told = {row["key"]: row["phases"] for row in load_phases(config(tmp_path)).to_pylist()}
    assert told == {key: row["phase"] for key, row in phases.items()}
    victim = tmp_path / paths[0]
    victim.unlink()
    stamps = {path: (tmp_path / path).stat().st_mtime_ns for path in paths[1:]}
    assert load(config(tmp_path)) == ann
    assert victim.read_bytes() == before[paths[0]]
    assert stamps == {path: (tmp_path / path).stat().st_mtime_ns for path in paths[1:]}
    assert not list(tmp_path.rglob("*.tmp"))


def test_another_configuration_in_the_same_root_never_meets_stale_files(tmp_path):
    first = load(config(tmp_path))
    for change in ({"nuisance": "hard"}, {"seed": 1}):
        other = load(config(tmp_path, **change))
        assert not set(other.clips["path"].to_pylist()) & set(first.clips["path"].to_pylist())
    more = load(config(tmp_path, train_per_class=3))
    assert set(first.clips["path"].to_pylist()) < set(more.clips["path"].to_pylist())


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"class_set": "demo7"}, "class_set = demo7: must be one of demo6, dev12"),
        ({"class_set": ["F:S25t"]}, "at least two different classes"),
        ({"class_set": ["F:S25t", "X:S25t"]}, "class_set = X:S25t: no such class; write <take-off>:<program>"),
        ({"nuisance": "none"}, "nuisance = none: must be one of"),
        ({"train_per_class": 0}, "train_per_class = 0"),
    ],
)
def test_configuration_is_checked(options, rule):
    with pytest.raises(ValueError, match=rule):
        SyntheticDivingConfig(**options)


def test_a_root_is_needed():
    with pytest.raises(UserError, match=r"data\.root"):
        load(DatasetConfig(name="synthetic_diving"))
