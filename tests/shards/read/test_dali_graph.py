from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from shards.read.augment import AugmentParams, draw, recode
from shards.read.config import IMAGENET_MEAN, IMAGENET_STD, AugmentConfig
from shards.read.dali_graph import ClipGraph, GraphSpec, Sample, at_places
from shards.read.resize import views_of
from shards.read.torch_views import TorchViews

T = 3
RAW_BGR = AugmentConfig(
    size=48, jitter=0.15, gray=0.1, erase=0.25, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channels="bgr"
)


def images(height: int = 48, width: int = 96, seed: int = 0) -> np.ndarray:
    """Make five smooth different images [5, H, W, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + a) + np.cos(y / 7 + b) for a, b in rng.random((15, 2)) * 6]
    levels = np.clip(np.stack(waves, -1).reshape(height, width, 5, 3) * 60 + 127, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(2, 0, 1, 3))


class Graph:
    """Takes samples whose data are whole frames; crops and resizes them as the loader does, then runs the graph."""

    def __init__(self, cfg: AugmentConfig, *, views: int = 1, random: bool = True, batch: int = 4) -> None:
        cpu = torch.device("cpu")
        self.cfg, self.takes = cfg, [cfg] * views
        self.graph = ClipGraph(
            GraphSpec(batch_size=batch, threads=1, takes=self.takes, random=random, decoder=None, device=cpu)
        )

    def run(self, samples: list[Sample]) -> list[torch.Tensor]:
        places = len(self.graph.spec.places)
        out = torch.full((len(samples), places, T, 3, self.cfg.size, self.cfg.size), torch.nan)
        self.graph.run([self.viewed(s) for s in samples], list(out))
        return list(out.unbind(1))

    def viewed(self, s: Sample) -> Sample:
        orders = at_places(self.takes, s.orders)
        return replace(s, data=views_of(s.data[0], orders, s.params, [self.cfg.size] * len(orders)))


def sample(frames: np.ndarray, params: list[AugmentParams], order: list[list[int]] | None = None) -> Sample:
    orders = list(np.array(order or [list(range(T))], np.int32))
    ids = np.arange(len(frames), dtype=np.int64)
    return Sample(data=[frames], ids=ids, orders=orders, params=params, height=frames.shape[1], width=frames.shape[2])


def plain(**changes: object) -> AugmentParams:
    """Take the whole image unchanged, then change what is named."""
    return replace(draw(AugmentConfig.evaluation(), None, 0), **changes)  # type: ignore[arg-type]


def unit(size: int, **changes: object) -> AugmentConfig:
    """Give pixels in [0, 1], with every random step in the graph."""
    base = AugmentConfig(size=size, mean=(0, 0, 0), std=(1, 1, 1), jitter=1, blur=1, erase=1)
    return replace(base, **changes)  # type: ignore[arg-type]


def by_torch(graph: Graph) -> Graph:
    """Make the views in torch, as where DALI is not installed."""
    graph.graph = TorchViews(graph.graph.spec)  # type: ignore[assignment]
    return graph


SQUARE = images(48, 48)
WANT = torch.from_numpy(SQUARE[:T].astype(np.float32) / 255).permute(0, 3, 1, 2)


def test_nothing_asked_for_changes_nothing() -> None:
    out = Graph(unit(48)).run([sample(SQUARE, [plain()])])
    assert len(out) == 1
    assert out[0].shape == (1, T, 3, 48, 48)
    assert torch.allclose(out[0][0], WANT, atol=1e-6)


def test_operators_overlap() -> None:
    pipe = Graph(unit(48)).graph._pipe
    assert pipe.exec_dynamic
    assert pipe.exec_async
    assert pipe.exec_pipelined


def test_frames_are_picked_in_the_order_asked_for_repeats_included() -> None:
    out = Graph(unit(48), views=2).run([sample(SQUARE, [plain()] * 2, [[4, 0, 0], [1, 2, 1]])])
    every = torch.from_numpy(SQUARE.astype(np.float32) / 255).permute(0, 3, 1, 2)
    assert torch.allclose(out[0][0], every[[4, 0, 0]], atol=1e-6)
    assert torch.allclose(out[1][0], every[[1, 2, 1]], atol=1e-6)


def test_each_random_step_does_its_work_on_its_own_sample_only() -> None:
    matrix = np.array([[0.5, 0.2, 0, 30], [0, 1.4, 0, -20], [0.1, 0, 0.9, 0]], np.float32)
    erase = np.array([0.25, 0.5, 0.25, 0.25], np.float32)
    samples = [
        sample(SQUARE, [plain(flip=True)]),
        sample(SQUARE, [plain(colour=matrix)]),
        sample(SQUARE, [plain(erase=erase)]),
        sample(SQUARE, [plain(sigma=1.5)]),
    ]
    flipped, coloured, erased, blurred = Graph(unit(48)).run(samples)[0]
    assert torch.allclose(flipped, WANT.flip(-1), atol=1e-6)

    mixed = np.clip(SQUARE[:T].astype(np.float64) @ matrix[:, :3].T + matrix[:, 3], 0, 255) / 255
    assert np.abs(coloured.permute(0, 2, 3, 1).numpy() - mixed).max() <= 1.01 / 255

    hole = WANT.clone()
    hole[:, :, 12:24, 24:36] = 0
    assert torch.allclose(erased, hole, atol=1e-6)

    kernel = torch.exp(-(torch.arange(-6.0, 7.0) ** 2) / (2 * 1.5**2))
    kernel = (kernel / kernel.sum())[None, None]
    lines = WANT.reshape(-1, 1, 48)
    once = torch.nn.functional.conv1d(lines, kernel).reshape(T, 3, 48, 36).transpose(-1, -2)
    twice = torch.nn.functional.conv1d(once.reshape(-1, 1, 48), kernel).reshape(T, 3, 36, 36).transpose(-1, -2)
    assert (blurred[:, :, 6:-6, 6:-6] - twice).abs().max() <= 2 / 255


def test_three_crops_are_the_left_the_centre_and_the_right() -> None:
    wide = images(48, 96)
    cfg = AugmentConfig(size=48, mean=(0, 0, 0), std=(1, 1, 1), crops=3)
    params = [draw(cfg, None, view) for view in range(3)]
    out = Graph(cfg, random=False).run([sample(wide, params)])
    whole = torch.from_numpy(wide[:T].astype(np.float32) / 255).permute(0, 3, 1, 2)
    for crop, left in enumerate((0, 24, 48)):
        assert torch.allclose(out[crop][0], whole[..., left : left + 48], atol=1e-6)


def test_a_window_is_cut_and_scaled() -> None:
    params = plain(area=0.25, x=1.0, y=0.0)
    half = Graph(unit(24)).run([sample(SQUARE, [params])])[0][0]
    assert torch.allclose(half, WANT[..., :24, 24:], atol=1e-6)
    small = Graph(unit(12)).run([sample(SQUARE, [params])])[0][0]
    means = torch.nn.functional.avg_pool2d(WANT[..., :24, 24:], 2)
    assert (small - means).abs().max() < 0.05


def test_clips_of_different_size_share_a_batch() -> None:
    samples = [sample(images(h, w), [plain()]) for h, w in ((48, 96), (60, 40), (33, 35))]
    assert Graph(unit(24)).run(samples)[0].shape == (3, T, 3, 24, 24)


def test_f_a_gets_normalised_rgb_and_f_e_plain_bgr_from_the_same_pixels() -> None:
    clip = [sample(SQUARE, [plain()])]
    f_a = Graph(AugmentConfig.carl_ssl(size=48)).run(clip)[0][0]
    f_e = Graph(RAW_BGR).run(clip)[0][0]
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(f_a, (WANT - mean) / std, atol=1e-5)
    assert torch.allclose(f_e, WANT.flip(1), atol=1e-6)
    # Checksums of both transforms on fixed pixels: a swapped channel or a second normalisation cannot pass unseen.
    weights = torch.tensor([1.0, 2.0, 4.0])
    sums = [round(float((x.mean((0, 2, 3)) * weights).sum()), 3) for x in (f_a, f_e)]
    assert sums == CHECKSUMS


@pytest.mark.parametrize("turn", [1, -1])
def test_one_decoding_serves_both_encoders(turn: int) -> None:
    configs = [AugmentConfig.carl_ssl(size=48), RAW_BGR][::turn]
    have, want = (Graph(cfg).run([sample(SQUARE, [plain()])])[0] for cfg in configs)
    assert torch.allclose(recode(have, *configs), want, atol=1e-5)
    assert recode(have, configs[0], configs[0]) is have


CHECKSUMS = [3.061, 3.633]


def test_the_result_does_not_depend_on_the_company_in_the_batch() -> None:
    cfg = AugmentConfig.carl_ssl(size=24)
    samples = [sample(images(seed=s), [draw(cfg, np.random.default_rng(s), 0)]) for s in range(4)]
    together = Graph(cfg).run(samples)[0]
    alone = torch.cat([Graph(cfg).run([one])[0] for one in samples])
    assert torch.equal(together, alone)


def test_a_failing_run_leaves_a_graph_that_works() -> None:
    spec = GraphSpec(batch_size=2, threads=1, takes=[unit(24)], random=False, decoder="cpu", device=torch.device("cpu"))
    encoded = ClipGraph(spec)
    broken = replace(sample(SQUARE, [plain()]), data=[np.zeros(100, np.uint8)])
    for _ in range(2):
        with pytest.raises(RuntimeError):
            encoded.run([broken], [torch.empty(1, T, 3, 24, 24)])


def test_building_leaves_no_file_behind(tmp_path: Path) -> None:
    code = (
        "import os, torch\n"
        "from tests.shards.read.test_dali_graph import Graph, unit\n"
        "graphs = [Graph(unit(32)), Graph(unit(48))]\n"
        "os._exit(0 if all(graph.graph.spec.branches for graph in graphs) else 1)\n"  # as a killed worker does
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("seed", range(6))
def test_torch_makes_the_views_that_dali_makes(seed: int, channels: str) -> None:
    look = {"jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "gray": 0.3, "blur": 0.6}
    cfg = unit(40, **look, erase=0.6, flip=0.5, channels=channels, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), crops=1)
    rng = np.random.default_rng(seed)
    clips = [sample(images(48, 64, seed), [draw(cfg, rng, 0)]) for _ in range(4)]
    dali, torch_ = Graph(cfg).run(clips)[0], by_torch(Graph(cfg)).run(clips)[0]
    level = 1.01 / 255 / min(cfg.std)
    off = (dali - torch_).abs() > level  # a border of the erased rectangle may lie a pixel further
    assert off.float().mean() < 0.02
    for clip, wrong in zip(clips, off, strict=True):
        assert clip.params[0].erase.any() or not wrong.any()


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0, 9.0])
def test_torch_blurs_by_the_weights_of_a_gaussian_mirrored_at_the_border(sigma: float) -> None:
    """Against one matrix that names every pixel's share; the widest kernel is wider than the image."""
    radius, n = int(np.ceil(3 * sigma)), 20
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    line = np.pad(np.arange(n), radius, mode="reflect")
    shares = np.zeros((n, n))
    for pixel in range(n):
        np.add.at(shares[pixel], line[pixel : pixel + 2 * radius + 1], taps / taps.sum())
    frames = images(n, n)[:T]
    wanted = np.einsum("ij,kl,tjlc->tikc", shares, shares, frames.astype(np.float64))
    graph = by_torch(Graph(unit(n)))
    got = graph.run([sample(frames, [plain(sigma=sigma)])])[0][0].permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(got - wanted).max() <= 0.501


def test_threads_change_no_view() -> None:
    cfg = unit(24, jitter=0.8, blur=0.6, erase=0.6, brightness=0.4)
    rng = np.random.default_rng(0)
    clips = [sample(images(seed=seed), [draw(cfg, rng, 0)]) for seed in range(4)]
    alone, beside = by_torch(Graph(cfg)), by_torch(Graph(cfg))
    beside.graph.spec = replace(beside.graph.spec, threads=3)
    assert torch.equal(alone.run(clips)[0], beside.run(clips)[0])


def test_torch_makes_the_same_evaluation_views_bit_for_bit_as_dali() -> None:
    cfg = replace(unit(24), crops=3)
    clips = [sample(images(48, 96), [draw(cfg, None, view) for view in range(3)])]
    dali, by_hand = Graph(cfg, random=False), by_torch(Graph(cfg, random=False))
    for one, other in zip(dali.run(clips), by_hand.run(clips), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
