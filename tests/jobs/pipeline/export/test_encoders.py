"""Every kind of encoder as files: each answers as its network does, in one batch and in another; small where it can be.

The comparison with the network is part of writing; here the files are opened again, and weights laid into them.
"""

import pytest
import torch
from safetensors.torch import load_file

from finepseudo.consistency.grouped import GroupedEncoder
from finepseudo.encoders.action_encoder import build_action_encoder
from finepseudo.encoders.config import ActionEncoderConfig, FrameEncoderConfig
from finepseudo.encoders.frame_encoder import build_frame_encoder
from jobs.pipeline.export import models
from tests.finepseudo.encoders.networks import randomised

VIT = {"width": 16, "depth": 1, "heads": 2, "patch": 16, "size": 32, "frames": 4, "drop_path": 0.0}
ACTION = {
    "tiny": ({}, 4, 32),
    "timesformer_s": (VIT, 4, 32),
    "aim_b16": (VIT, 4, 32),
    "videomae_b": (VIT, 4, 32),
    "slow_r50": ({"channels": 2, "blocks": (1, 1, 1, 1)}, 4, 32),
    "r3d_18": ({}, 2, 16),
    "r2plus1d_18": ({}, 2, 16),
}
FRAME = {"tiny": {}, "vtn": {"hidden": 8, "width": 16, "layers": 1, "heads": 2, "ffn": 16, "embedding": 8}}
LARGE = {"r3d_18", "r2plus1d_18", "vtn"}


def rows(table):
    return [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in table]


def action_encoder(name):
    options, frames, size = ACTION[name]
    cfg = ActionEncoderConfig(variant=name, weights=None if name == "tiny" else "random", options=options)
    return randomised(build_action_encoder(cfg, 3)).eval(), (frames, 3, size, size)


def check(network, shape, folder):
    """Write a network; its files give what it gives of a batch of another size, with the weights of the tensors."""
    with torch.inference_mode(False), torch.no_grad():
        example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
        said = list(models.write_network(network, folder / "made", example))
        batch = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
        expected = network(batch)
        program = torch.export.load(folder / "made.pt2").module()
        program.load_state_dict(load_file(folder / "made.safetensors"))
        assert (program(batch) - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)
        assert expected.abs().max() > 1e-3, "of zeros nothing could be told"
        assert len(said) == 1 + models.can_onnx()
        if models.can_onnx():
            import onnxruntime

            session = onnxruntime.InferenceSession(str(folder / "made.onnx"), providers=["CPUExecutionProvider"])
            (found,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
            assert (torch.from_numpy(found) - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)


@pytest.mark.parametrize("name", rows(ACTION))
def test_an_action_encoder_answers_from_its_files(name, tmp_path):
    check(*action_encoder(name), tmp_path)


@pytest.mark.parametrize("name", ["tiny", "timesformer_s"])
def test_groups_of_frames_and_their_head_are_one_program(name, tmp_path):
    encoder, shape = action_encoder(name)
    check(randomised(GroupedEncoder(encoder, (1, 1, 2), 3)).eval(), shape, tmp_path)


@pytest.mark.parametrize("name", rows(FRAME))
def test_a_frame_encoder_answers_from_its_files(name, tmp_path):
    cfg = FrameEncoderConfig(variant=name, weights=None if name == "tiny" else "random", **FRAME[name])
    check(randomised(build_frame_encoder(cfg)).eval(), (4, 3, 32, 32), tmp_path)
