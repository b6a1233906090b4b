"""What the tests of the networks share."""

import hashlib

import torch


def fingerprint(module):
    """Hash the names and shapes of a network's tensors."""
    lines = sorted(f"{name} {tuple(value.shape)}" for name, value in module.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def count(module, *, trained=False):
    """Count the parameters, or those that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


@torch.no_grad()
def randomised(module, seed=0):
    """Give every tensor values of a trained network's kind: no zero where a test could not see it, no zero variance."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if name.endswith("running_var"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator)
            value.add_(noise, alpha=0.1 if value.dim() < 2 else value[0].numel() ** -0.5)
    return module
