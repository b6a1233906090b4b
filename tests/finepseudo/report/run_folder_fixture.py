"""A run folder in the product's file formats, with drawn numbers in it.

It is a fixture of file formats: no model made these numbers, and they are evidence of nothing.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DIVES = ("Back", "Forward", "Inward", "Reverse")
ROLES = ("labelled", "unlabelled", "test")
HAS_SCORES = {"verification", "finepseudo"}
QUALITY = {"supervised": 0.0, "pseudo_label": 0.25, "uncertainty": 0.3, "verification": 0.4, "finepseudo": 0.6}


def class_names(n):
    return [f"{DIVES[i % 4]}_{i // 4 + 1}Som_{i % 3}Twist" for i in range(n)]


def write_run_folder(
    root,
    *,
    seeds=(0, 1),
    methods=("supervised", "pseudo_label", "finepseudo"),
    rounds=2,
    n_classes=8,
    per_class=(3, 12, 6),
    frames=16,
    steps=60,
    rng_seed=0,
):
    """Write the folder and return it. `per_class` = labelled, unlabelled and test clips of each class."""
    root = Path(root)
    rng = np.random.default_rng(rng_seed)
    classes = class_names(n_classes)
    keys, labels, roles = _clips(root, classes, per_class)
    (root / "config.yaml").write_text(CONFIG.replace("[0, 1]", str(list(seeds))), encoding="utf-8")
    _write_json(root / "environment.json", ENVIRONMENT)
    log = []
    for seed in seeds:
        folder = root / f"seed-{seed}"
        _split(folder, seed, keys, labels, roles, classes)
        _done(folder / "pretrain", "pretrain", 40.25 + seed)
        _train_log(log, rng, seed, None, None, "pretrain", steps, 5.2)
        for stage, start in (("frame_encoder", 1.9), ("action_encoder", 2.1)):
            _done(folder / "round-00" / stage, stage, 20.5 + seed)
            _train_log(log, rng, seed, None, 0, stage, steps, start)
        _done(folder / "round-00" / "embeddings", "embeddings", 6.125)
        for method in methods:
            _method(folder / method, rng, seed, method, rounds, keys, labels, roles, classes, frames, log, steps)
    (root / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in log), encoding="utf-8")
    return root


def _write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _write_table(path, columns, about=None, **types):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({n: pa.array(v, type=types.get(n)) for n, v in columns.items()})
    if about is not None:
        table = table.replace_schema_metadata({"finepseudo": json.dumps(about)})
    pq.write_table(table, path)


def _done(folder, stage, wall_s, minute=[0]):  # noqa: B006
    minute[0] = (minute[0] + 1) % 60
    record = {
        "stage": stage,
        "config_sha256": "0" * 64,
        "inputs": {},
        "outputs": {},
        "code_version": "0.1.0+g1a2b3c4",
        "wall_s": wall_s,
        "finished_at": f"2026-11-20T14:{minute[0]:02d}:00+00:00",
    }
    _write_json(folder / "DONE.json", record)


def _clips(root, classes, per_class):
    keys, labels, roles = [], [], []
    for label in range(len(classes)):
        for role, count in zip(ROLES, per_class, strict=True):
            for k in range(count):
                keys.append(f"dive-{label:03d}-{role[0]}{k:03d}")
                labels.append(label)
                roles.append(role)
    n = len(keys)
    columns = {
        "key": keys,
        "path": [f"videos/{k}.mp4" for k in keys],
        "label": labels,
        "role": ["test" if r == "test" else "train" for r in roles],
        "source": keys,
        "start": [None] * n,
        "end": [None] * n,
    }
    about = {"dataset": "synthetic_diving", "version": "1", "classes": classes}
    _write_table(
        root / "data" / "clips.parquet", columns, about, label=pa.int32(), start=pa.float64(), end=pa.float64()
    )
    bad = {
        "key": ["broken-1", "broken-2", "broken-3"],
        "path": ["a", "b", "c"],
        "reason": ["no_video_stream", "truncated", "truncated"],
        "detail": ["", "moov atom not found", ""],
    }
    _write_table(root / "data" / "quarantine.parquet", bad)
    _write_json(root / "data" / "shards" / "manifest.json", {"format": 1, "profile": "h264", "shards": [], "clips": n})
    _done(root / "data", "write_shards", 12.5)
    return keys, np.array(labels), np.array(roles)


def _split(folder, seed, keys, labels, roles, classes):
    shown = [int(y) if r != "unlabelled" else -1 for y, r in zip(labels, roles, strict=True)]
    lines = "".join(sorted(f"{k}\t{r}\t{y}\n" for k, r, y in zip(keys, roles, shown, strict=True)))
    sha = hashlib.sha256((lines + "\n".join(classes) + str(seed)).encode()).hexdigest()
    about = {
        "dataset": "synthetic_diving",
        "classes": classes,
        "seed": seed,
        "ratio": 0.2,
        "method": "stratified",
        "sha256": sha,
    }
    _write_table(folder / "split.parquet", {"key": keys, "role": list(roles), "label": shown}, about, label=pa.int32())


def _train_log(log, rng, seed, method, number, stage, steps, start):
    for step in range(1, steps + 1):
        loss = start * (0.25 + 0.75 * np.exp(-3 * step / steps)) * (1 + 0.06 * rng.standard_normal())
        record = {"time": 1.79e9 + step, "seed": seed, "method": method, "round": number, "stage": stage}
        record |= {"step": step, "epoch": step // 10, "train/loss": float(loss), "train/lr": 1e-4}
        record["data/wait_fraction"] = float(np.clip(0.35 * np.exp(-step / 4) + 0.04 * rng.random(), 0, 1))
        log.append(record)
    if stage == "frame_encoder":
        log[-1] |= {"train/same": 0.9, "train/different": 0.2}
        log.append(
            {
                "time": 1.79e9,
                "seed": seed,
                "method": method,
                "round": number,
                "stage": stage,
                "align/score_monotone": 1,
            }
        )


def _probabilities(rng, truth, n_classes, strength):
    logits = rng.standard_normal((len(truth), n_classes))
    near = (truth + rng.integers(0, 2, len(truth)) * 4) % n_classes  # a class of the same take-off is the usual mistake
    logits[np.arange(len(truth)), truth] += strength
    logits[np.arange(len(truth)), near] += 1.1
    p = np.exp(logits * 1.2)
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def _method(folder, rng, seed, method, rounds, keys, labels, roles, classes, frames, log, steps):
    pool = np.flatnonzero(roles == "unlabelled")
    for number in range(rounds if method != "supervised" else 0):
        here = folder / f"round-{number:02d}"
        if number:
            for stage, start in (("frame_encoder", 1.2), ("action_encoder", 1.4)):
                _done(here / stage, stage, 15.75 + seed)
                _train_log(log, rng, seed, method, number, stage, steps, start)
        strength = 1.0 + QUALITY[method] + 0.5 * number
        _labels(here, rng, method, [keys[i] for i in pool], labels[pool], classes, strength)
        _done(here, "pseudo_labels", 3.5)
    _evaluation(folder / "evaluation", rng, seed, method, rounds, keys, labels, roles, classes, frames)


def _labels(folder, rng, method, keys, truth, classes, strength):
    n, c = len(keys), len(classes)
    p_e = _probabilities(rng, truth, c, strength)
    p_a = _probabilities(rng, truth, c, strength + 0.2)
    scored = method in HAS_SCORES
    p = (p_a + p_e) / 2 if scored else p_e
    valid = np.ones(n, bool)
    valid[:1] = False
    p_e[~valid] = p_a[~valid] = p[~valid] = 0.0
    label, label_a, label_e = (np.where(valid, q.argmax(1), -1) for q in (p, p_a, p_e))
    confidence = p.max(1)
    accepted = valid & (confidence > 0.5)
    columns = {
        "key": keys,
        "label": label,
        "accepted": accepted,
        "confidence": confidence,
        "p_A_max": p_a.max(1) if scored else [np.nan] * n,
        "p_E_max": p_e.max(1),
        "label_A": label_a if scored else [-1] * n,
        "label_E": label_e,
        "score_max": p_a.max(1) if scored else [np.nan] * n,
        "classes": [list(range(c))] * n,
        "p_A": list(p_a) if scored else [[]] * n,
        "p_E": list(p_e),
        "p": list(p),
        "uncertainty": rng.random(n),
        "valid": valid,
    }
    floats = dict.fromkeys(("confidence", "p_A_max", "p_E_max", "score_max", "uncertainty"), pa.float32())
    ints = dict.fromkeys(("label", "label_A", "label_E"), pa.int32())
    lists = dict.fromkeys(("p_A", "p_E", "p"), pa.list_(pa.float32()))
    lists["classes"] = pa.list_(pa.int32())
    _write_table(folder / "pseudo_labels.parquet", columns, **floats, **ints, **lists)
    right = label == truth
    per_class = [
        {
            "class": name,
            "accepted": int((accepted & (label == i)).sum()),
            "correct": int((accepted & right & (label == i)).sum()),
        }
        for i, name in enumerate(classes)
    ]
    count = int(accepted.sum())
    metrics = {
        "accepted": count,
        "pool": n,
        "coverage": count / n,
        "precision": float(right[accepted].mean()) if count else None,
        "per_class": per_class,
        "precision_A": float((p_a.argmax(1) == truth)[accepted].mean()) if scored and count else None,
        "precision_E": float((p_e.argmax(1) == truth)[accepted].mean()) if count else None,
    }
    _write_json(folder / "pseudo_metrics.json", metrics)


def _evaluation(folder, rng, seed, method, rounds, keys, labels, roles, classes, frames):
    test = np.flatnonzero(roles == "test")
    truth = labels[test]
    p = _probabilities(rng, truth, len(classes), 1.4 + QUALITY[method])
    guess = p.argmax(1)
    confusion = np.zeros((len(classes), len(classes)), int)
    np.add.at(confusion, (truth, guess), 1)
    share = np.diag(confusion) / np.maximum(confusion.sum(1), 1)
    top5 = np.mean([t in row for t, row in zip(truth, np.argsort(-p, 1)[:, :5], strict=True)])
    metrics = {
        "method": method,
        "seed": seed,
        "rounds": rounds,
        "top1": float((truth == guess).mean()),
        "top5": float(top5),
        "mean_class": float(share.mean()),
        "n": len(test),
        "n_invalid": 0,
        "per_class": [
            {"class": c, "n": int(confusion[i].sum()), "accuracy": float(share[i])} for i, c in enumerate(classes)
        ],
        "confusion": confusion.tolist(),
    }
    _write_json(folder / "metrics.json", metrics)
    columns = {"key": [keys[i] for i in test], "label": truth, "prediction": guess, "p": list(p)}
    _write_table(
        folder / "predictions.parquet", columns, label=pa.int32(), prediction=pa.int32(), p=pa.list_(pa.float32())
    )
    np.savez(folder / "examples.npz", **_examples(rng, [keys[i] for i in test], truth, frames))
    _done(folder, "evaluate", 8.0)


def _examples(rng, keys, truth, frames):
    out = {}
    first, same = np.flatnonzero(truth == truth[0])[:2]
    for kind, other in (("same", same), ("different", np.flatnonzero(truth != truth[0])[0])):
        time = np.linspace(0, 1, frames)
        warped = time**1.4 if kind == "same" else (time * 2.3) % 1.0
        u, v = _poses(time, rng), _poses(warped, rng)
        cost = 1 - u @ v.T
        path = _warping_path(cost)
        out |= {
            f"{kind}_cost": cost.astype(np.float32),
            f"{kind}_alignment": path,
            f"{kind}_frames_u": _film(time),
            f"{kind}_frames_v": _film(warped),
            f"{kind}_keys": np.array([keys[first], keys[other]]),
            f"{kind}_score": np.float32(0.93 if kind == "same" else 0.21),
            f"{kind}_distance": np.float32((cost * path).sum()),
        }
    return out


def _warping_path(cost):
    """Plain dynamic time warping, 1.0 on the best path."""
    total = np.full((len(cost) + 1, len(cost) + 1), np.inf)
    total[0, 0] = 0.0
    for i, j in np.ndindex(*cost.shape):
        total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    path = np.zeros(cost.shape, np.float32)
    i, j = len(cost), len(cost)
    while i and j:
        path[i - 1, j - 1] = 1.0
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda at: total[at])
    return path


def _poses(time, rng):
    waves = np.stack([f(2 * np.pi * k * time / 2) for k in (1, 2, 3) for f in (np.sin, np.cos)], 1)
    waves = waves + 0.05 * rng.standard_normal(waves.shape)
    return waves / np.linalg.norm(waves, axis=1, keepdims=True)


def _film(time, size=48):
    """A bright diver falls into the water: uint8 [T, size, size, 3]."""
    film = np.zeros((len(time), size, size, 3), np.uint8)
    film[..., :] = (196, 216, 230)
    film[:, int(size * 0.8) :] = (40, 96, 140)
    film[:, int(size * 0.2) : int(size * 0.24), : size // 4] = (110, 110, 110)
    for frame, t in zip(film, time, strict=True):
        x, y = int(size * (0.2 + 0.4 * t)), int(size * (0.08 + 0.75 * t * t))
        frame[y : y + 7, x : x + 5] = (190, 60, 40)
    return film


CONFIG = """\
# resolved config of the run (fixture)
name: fixture
seeds: [0, 1]
data: {dataset: synthetic_diving, root: videos}
frame_encoder: {variant: tiny, weights: null}
action_encoder: {variant: tiny, weights: null}
method:
  finepseudo: {tau: 0.1, theta: 0.5, fuse: mean}
rounds: 2
"""

ENVIRONMENT = {
    "device": "cpu",
    "decoder": "dali-cpu",
    "python": "3.12.0",
    "packages": {"torch": "2.13.0", "ray": "2.60.0", "nvidia-dali": "2.4.0"},
    "code_version": "0.1.0+g1a2b3c4",
}
