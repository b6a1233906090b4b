"""The rows: each can be built and names what exists; a user's own class goes the same way."""

import sys
import types

import pytest
import torch

from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.contract import Backbone, Expected, Published, imported
from finepseudo.encoders.frame_encoder import build_frame_encoder
from finepseudo.encoders.layouts import AS_IT_IS
from finepseudo.encoders.table import BACKBONES
from shards.errors import UserError
from tests.finepseudo.encoders.networks import randomised

ROWS = [(kind, name) for kind, rows in BACKBONES.items() for name in rows]


class Mine(torch.nn.Module):
    """A user's f_E."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.width = width
        self.conv = torch.nn.Conv3d(3, width, 1)

    def forward(self, video):
        return self.conv(video).mean((2, 3, 4))

    def freeze_trunk(self):
        self.conv.weight.requires_grad_(False)


class MyImages(torch.nn.Module):
    width = 3

    def forward(self, frames):
        return frames.mean((2, 3))


@pytest.fixture
def lab(monkeypatch):
    """A module of a user: a class and a row."""
    module = types.ModuleType("lab_networks")
    module.Mine, module.MyImages, module.number = Mine, MyImages, 3
    module.Headless = torch.nn.Identity
    weights = {"ours": Published(about="ours", layouts=(AS_IT_IS,), expects=Expected(channels="bgr", frames=4))}
    module.ROW = Backbone(kind="action", builder="lab_networks:Mine", options={"width": 9}, published=weights)
    monkeypatch.setitem(sys.modules, "lab_networks", module)
    return module


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_every_row_can_be_built_and_every_layout_names_what_exists(kind, name):
    row = BACKBONES[kind][name]
    assert row.kind == kind
    config = {"action": ActionEncoderConfig, "frame": FrameEncoderConfig}[kind]
    starts = ["random", *(f"{weights}:x" for weights in row.published)] if row.published else [None]
    if "timm" in row.builder:
        pytest.importorskip("timm", reason="timm is in the extra `encoders`")
    for weights in starts:
        cfg = config(variant=name, weights=weights)
        with torch.device("meta"):
            if kind == "action":
                network = build_action_encoder(cfg, 2, start=False).backbone
            else:
                network = build_frame_encoder(cfg, start=False).image
        frozen = [p for p in network.parameters() if not p.requires_grad]
        assert not frozen or weights not in (None, "random"), "a random start trains everything"
        assert network.width > 0
    for published in row.published.values():
        for layout in published.layouts:
            assert layout.convert is None or callable(imported(layout.convert))


def test_a_users_class_takes_the_place_of_a_row(lab, tmp_path):
    file = tmp_path / "mine.pt"
    state = randomised(Mine()).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, file)
    encoder = build_action_encoder(ActionEncoderConfig(variant="lab_networks:Mine", weights=f"file:{file}"), 4)
    assert torch.equal(encoder.backbone.conv.weight, state["conv.weight"])
    assert not encoder.backbone.conv.weight.requires_grad
    assert encoder(torch.rand(2, 5, 3, 8, 8)).shape == (2, 4)
    cfg = ActionEncoderConfig(variant="lab_networks:Mine", weights="random", options={"width": 7})
    assert build_action_encoder(cfg, 4).width == 7
    assert cfg.expects is None
    frames = build_frame_encoder(FrameEncoderConfig(variant="lab_networks:MyImages", weights="random")).eval()
    assert frames(torch.rand(2, 5, 3, 8, 8)).shape == (2, 5, 128)


def test_a_users_row_brings_weights_and_frames(lab):
    cfg = ActionEncoderConfig(variant="lab_networks:ROW", weights="ours:x.pt")
    assert (cfg.expects.channels, cfg.expects.frames) == ("bgr", 4)
    assert build_action_encoder(cfg, 2, start=False).width == 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "r2plusd_18"}, r"did you mean r2plus1d_18\?"),
        ({"variant": "vtn"}, "neither a known action encoder nor module:Class"),
        ({"variant": "no_such_module:Net"}, r"cannot be imported \(No module named"),
        ({"variant": "lab_networks:Other"}, r"cannot be imported \(module 'lab_networks' has no attribute"),
        ({"variant": ":Net"}, "variant = :Net: is no import path; write module:name"),
        ({"variant": ".nets:Net"}, r"variant = \.nets:Net: is no import path; write module:name"),
        ({"variant": "broken_networks:Net"}, r"broken_networks:Net: cannot be imported \(boom\)"),
        ({"variant": "lab_networks:number"}, "variant = lab_networks:number: is no class; write module:Class"),
        ({"weights": "tclr:"}, "takes kinetics_sup:FILE, tclr:FILE, tclr .*; `finepseudo weights tclr:` says"),
        (
            {"weights": "/data/k400.pth"},
            "takes kinetics_sup:FILE, tclr:FILE, tclr .*, run:PATH of a finished run or random",
        ),
        ({"weights": "byol:/data/x.pth"}, "`finepseudo weights /data/x.pth` says what a file is"),
        ({"variant": "tiny", "weights": "tclr:x"}, "no published weights fit variant tiny"),
        ({"mc_passes": 1}, "mc_passes = 1: must be at least 2"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
    ],
)
def test_settings_that_are_refused(options, words, lab, tmp_path, monkeypatch):
    (tmp_path / "broken_networks.py").write_text("raise RuntimeError('boom')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=words):
        ActionEncoderConfig(**options)


def test_a_row_of_the_other_kind_is_refused(lab):
    with pytest.raises(ValueError, match="is of kind action; frame is needed"):
        FrameEncoderConfig(variant="lab_networks:ROW")


@pytest.mark.parametrize(
    ("variant", "options", "words"),
    [
        ("lab_networks:Mine", {"wdth": 3}, r"options \{'wdth': 3\}: got an unexpected keyword argument"),
        ("lab_networks:Headless", {}, "must make a torch module with `width`"),
        ("timesformer_b", {"patch": 15}, r"size 224 must be a multiple of the patch, 15"),
    ],
)
def test_networks_that_cannot_be_built_are_one_line(variant, options, words, lab):
    with pytest.raises(UserError, match=words):
        build_action_encoder(ActionEncoderConfig(variant=variant, weights="random", options=options), 2)


def test_frames_follow_from_the_weights_and_the_options():
    assert ActionEncoderConfig(weights="tclr:x").expects.channels == "bgr"
    assert ActionEncoderConfig(weights="kinetics_sup:x").expects.channels == "rgb"
    assert ActionEncoderConfig(variant="aim_b16", weights="clip:x").expects.frames == 32
    cfg = ActionEncoderConfig(variant="aim_b16", weights="clip:x", options={"frames": 16})
    assert (cfg.expects.frames, cfg.built_from["frames"]) == (16, 16)
