"""Pre-training: of short clips, shared between label draws, imported from another run, or skipped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.run_folder.layout import WEIGHTS
from finepseudo.training.checkpoint import load_weights, save_weights
from jobs.config.recipes import load
from jobs.pipeline.run_folder import write_config
from jobs.pipeline.stages.base import Run
from jobs.pipeline.stages.pretrain import PretrainStage, check_unseen, slowed_note
from jobs.progress import Reporter
from jobs.submit.draws import draw_of, link_draw
from jobs.workers import models
from shards.errors import UserError
from tests.jobs.pipeline.stages.one_stage import config


def stage_of(folder: Path, *overrides: str) -> PretrainStage:
    cfg = load("smoke", [f"out={folder}", *overrides])
    return PretrainStage(run_of=Run(cfg, Reporter(cfg.folder, tensorboard=False)), seed=0)


def weights_of(stage: PretrainStage) -> dict[str, torch.Tensor]:
    stage.folder.mkdir(parents=True)
    stage.run()
    return load_weights(stage.folder / WEIGHTS)


def test_a_skipped_pre_training_gives_the_start_of_f_a(tmp_path: Path) -> None:
    stage = stage_of(tmp_path, "pretrain.skip=true")
    wanted = models.gitdl(stage.cfg, 0).state_dict()
    found = weights_of(stage)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("place", ["pretrain", "seed-3/pretrain", "."])
def test_f_a_of_another_run_comes_whole_and_is_not_pre_trained_again(tmp_path: Path, place: str) -> None:
    torch.manual_seed(5)
    trained = models.gitdl(load("smoke"), 7).state_dict()
    (tmp_path / "other" / place).mkdir(parents=True)
    save_weights(tmp_path / "other" / place / WEIGHTS, {**trained, "scorer.mean": torch.ones(())})
    stage = stage_of(tmp_path, f"frame_encoder.weights=run:{tmp_path / 'other'}")
    assert not stage.cfg.pretrains
    assert (tmp_path / "other" / place / WEIGHTS).samefile(stage.inputs["frame_encoder.weights"])
    found = weights_of(stage)
    assert all(torch.equal(found[name], trained[name]) for name in trained)
    assert stage_of(tmp_path, f"frame_encoder.weights=run:{tmp_path / 'other'}", "pretrain.skip=false").cfg.pretrains


def test_another_runs_weights_have_to_fit(tmp_path: Path) -> None:
    save_weights(tmp_path / WEIGHTS, models.gitdl(load("smoke", ["frame_encoder.width=32"]), 0).state_dict())
    with pytest.raises(UserError, match=r"weights run:.*do not fit FrameEncoder"):
        weights_of(stage_of(tmp_path, f"frame_encoder.weights=run:{tmp_path / WEIGHTS}"))


def test_a_shared_pre_training_must_not_have_seen_the_test_of_another_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = {0: {"labelled": ["a"], "unlabelled": ["b"], "test": ["c"]}, 1: {"test": ["b"]}, 2: {"test": ["c"]}}
    monkeypatch.setattr(Run, "split", lambda self, seed: SimpleNamespace(keys=roles[seed].__getitem__))
    shared = stage_of(tmp_path, "seeds=[0, 1, 2]").run_of
    for seed in (0, 2):
        check_unseen(shared, seed)
    with pytest.raises(UserError, match=r"1 test clips of seed 1 are trained on with seed 0, first b; set pretrain"):
        check_unseen(shared, 1)
    check_unseen(stage_of(tmp_path, "seeds=[0, 1]", "pretrain.shared=false").run_of, 1)


def test_a_draw_of_its_own_knows_whose_clips_the_pre_training_that_it_links_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = load("smoke", [f"out={tmp_path}", "seeds=[0, 1]"], {"name": "r"})
    for seed in cfg.seeds:
        link_draw(cfg, seed)
    write_config(cfg)
    roles = {"r/seed-0": {"labelled": ["a"], "unlabelled": ["b"]}, "r-seed1/seed-1": {"test": ["b"]}}

    def split_at(path: Path) -> SimpleNamespace:
        return SimpleNamespace(keys=roles[path.parent.relative_to(tmp_path).as_posix()].__getitem__)

    for where in ("jobs.pipeline.stages.pretrain", "jobs.pipeline.stages.base"):
        monkeypatch.setattr(f"{where}.read_split", split_at)
    runs = [Run(one, Reporter(one.folder, tensorboard=False)) for one in (draw_of(cfg, 0), draw_of(cfg, 1))]
    check_unseen(runs[0], 0)
    with pytest.raises(UserError, match=r"1 test clips of seed 1 are trained on with seed 0, first b; set pretrain"):
        check_unseen(runs[1], 1)


def test_an_image_encoder_that_nothing_trains_is_refused() -> None:
    with pytest.raises(UserError, match=r"pretrain.skip = true: leaves f_A's image encoder at random for good"):
        load("diving48", ["frame_encoder.weights=random", "pretrain.skip=true"])
    load("diving48", ["frame_encoder.weights=byol:x.pth", "pretrain.skip=true"])


def test_what_label_draws_do_not_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"pretrain.with_labelled = false: leaves out other clips .*shared=false"):
        load("smoke", ["pretrain.with_labelled=false"])


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("action_pretrain.look.erase=0", True),
        ("action_input.augment.size=48", True),
        ("action_input.sampling.stride=2", True),
        ("action_input.augment.jitter=0.9", False),
        ("action_input.sampling.policy=dense", False),
        ("action_encoder.dropout=0.2", False),
        ("action_pretrain.train.optim.self_training_factor=0.5", False),
    ],
)
def test_tclr_reads_what_f_e_sees_but_for_its_own_look(override: str, read: bool) -> None:
    def told(*more: str) -> object:
        return config("pretrain/action_encoder", "action_encoder.weights=tclr", *more)

    assert (told(override) != told()) == read


def test_what_tclr_cannot_do_is_refused_and_an_f_e_of_another_run_is_taken(tmp_path: Path) -> None:
    start = "action_encoder.weights=tclr"
    with pytest.raises(UserError, match=r"action_pretrain.loss.global_local = 1.*compiled.*; set it to 0"):
        load("smoke", [start, "action_encoder.compile=true"])
    with pytest.raises(UserError, match=r"action_pretrain.order.batch_size = 8: must be a multiple of .*, 3"):
        load("smoke", [start, "resources.workers=3", *(f"{x}_stage.order.batch_size=6" for x in ("frame", "action")),
                       "pretrain.order.batch_size=6", "action_stage.self_order.batch_size=6"])  # fmt: skip
    trained = models.tclr(load("smoke", [start]), 0).state_dict()
    (tmp_path / "other/pretrain/action_encoder").mkdir(parents=True)
    save_weights(tmp_path / "other/pretrain/action_encoder" / WEIGHTS, trained)
    encoder = build_action_encoder(
        load("smoke", [f"action_encoder.weights=run:{tmp_path / 'other'}"]).action_encoder, 4
    )
    assert all(torch.equal(v, trained[f"encoder.backbone.{n}"]) for n, v in encoder.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("lengths", "frames", "said"),
    [
        ([154, 200, 63], 32, None),
        ([30, 200], 32, None),
        ([36, 36, 300], 32, "2 of 3 clips have fewer than 63 frames and are slowed down; "
         "pretrain.input.sampling.frames=18 fits half of them"),
        ([9, 9, 9], 8, "3 of 3 clips have fewer than 15 frames and are slowed down"),
    ],
)  # fmt: skip
def test_short_clips_are_said(lengths: list[int], frames: int, said: str | None) -> None:
    assert slowed_note(np.array(lengths, np.int32), frames) == said
