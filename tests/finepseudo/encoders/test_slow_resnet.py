"""The slow pathway: its size, pytorchvideo's outputs."""

import pytest
import torch

from finepseudo.encoders.slow_resnet import SlowR50
from tests.finepseudo.encoders.networks import count, randomised
from tests.finepseudo.encoders.published import pytorchvideo


def test_it_has_pytorchvideos_number_of_parameters():
    network = SlowR50()
    assert count(network) + 2048 * 400 + 400 == 32_454_096  # paper, Table 3: 31.8 M


def test_only_the_last_two_stages_look_at_neighbouring_frames():
    network = randomised(SlowR50(blocks=(1, 1, 1, 1))).eval()
    clip = torch.rand(1, 3, 6, 32, 32)
    other = clip.clone()
    other[:, :, 0] = torch.rand(3, 32, 32)
    with torch.no_grad():
        for layer, far in (("layer2", 0), ("layer3", 1), ("layer4", 2)):
            seen = []
            hook = getattr(network, layer).register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
            network(clip)
            network(other)
            hook.remove()
            changed = (seen[0] - seen[1]).abs().amax((0, 1, 3, 4)) > 1e-7
            assert changed.tolist() == [place <= far for place in range(6)]


@pytest.mark.slow
def test_outputs_are_pytorchvideos():
    hub = pytest.importorskip("pytorchvideo.models.resnet", reason="pytorchvideo is no dependency")
    ours = randomised(SlowR50()).eval()
    theirs = hub.create_resnet(model_depth=50, stem_conv_kernel_size=(1, 7, 7), head_pool=None, dropout_rate=0)
    theirs.blocks[5] = torch.nn.Identity()
    theirs.load_state_dict(pytorchvideo(ours.state_dict()))
    clip = torch.rand(1, 3, 8, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip), theirs.eval()(clip).mean((2, 3, 4)), rtol=0, atol=1e-5)
