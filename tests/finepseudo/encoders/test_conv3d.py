"""Convolutions of short clips: the gradient in bf16 is that of float32, to the precision of bf16."""

import pytest
import torch

from finepseudo.encoders.conv3d import Conv3d

CASES = [
    ((3, 1, 1), (1, 0, 0), 1),
    ((3, 3, 3), (1, 1, 1), 1),
    ((3, 3, 3), (2, 1, 1), (2, 1, 1)),
    ((1, 3, 3), (0, 1, 1), 1),
]


def gradient(layer, video, precision):
    layer.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = layer(video)
    out.float().square().mean().backward()
    return out.detach().float(), layer.weight.grad.clone()


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "padding", "dilation"), CASES)
def test_bf16_has_the_gradient_of_float32(frames, kernel, padding, dilation):
    torch.manual_seed(0)
    layer = Conv3d(16, 16, kernel, 1, padding, dilation, bias=False)
    video = torch.randn(6, 16, frames, 8, 8)
    whole = gradient(layer, video, "fp32")
    torch.testing.assert_close(whole[0], torch.nn.Conv3d.forward(layer, video).detach())
    for _ in range(3):  # what is unset may happen to be right once
        for found, wanted in zip(gradient(layer, video, "bf16"), whole, strict=True):
            assert (found - wanted).abs().max() < 0.03 * wanted.abs().max()
