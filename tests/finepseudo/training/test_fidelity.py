"""One training step of every stage against the equations, written out clip by clip and cell by cell in float64.

Value and gradient of every weight. That two workers take the step of one is in test_objectives.py.
"""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from finepseudo.encoders.stages import watched
from tests.finepseudo.batches import VIEWS, clip_batch, objective


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def soft_dtw(u, v, gamma):
    """Eq. (1): R(i, j) = C(i, j) + softmin of its three predecessors."""
    table = {(0, 0): torch.zeros((), dtype=torch.float64)}
    for i, j in itertools.product(range(1, len(u) + 1), range(1, len(v) + 1)):
        before = [table[p] for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if p in table]
        cost = 1 - u[i - 1] @ v[j - 1] / (u[i - 1].norm() * v[j - 1].norm())
        table[i, j] = cost - gamma * torch.logsumexp(-torch.stack(before) / gamma, 0)
    return table[len(u), len(v)]


def alignability(module, batch):
    """Eq. (2) to (5): hinge triplets, hard negatives; f_S on standardised D/T; positives and negatives half each."""
    cfg, u, labels, length = module.cfg, module.encoder(batch.frames[:, 0]), batch.labels.tolist(), 8
    pairs = list(itertools.permutations(range(len(u)), 2))
    distance = {(i, j): soft_dtw(u[i], u[j], cfg.gamma) / length for i, j in pairs}
    hinges, mined = [], set()
    for (i, j), k in itertools.product(pairs, range(len(u))):
        if labels[i] == labels[j] and labels[k] != labels[i]:
            hinge = distance[i, j] - distance[i, k] + cfg.margin
            if hinge > 0:
                hinges.append(hinge)
                mined.add((i, k))
    once = torch.stack([distance[i, j].detach() for i, j in pairs if i < j])
    mean, variance = once.mean(), once.var()
    spread = (variance + (0.01 * mean) ** 2 + 1e-6).sqrt()

    def logit(d):
        first, second = module.scorer.first, module.scorer.second
        hidden = [F.relu(w * (d - mean) / spread + b) for w, b in zip(first.weight[:, 0], first.bias, strict=True)]
        return sum(w * h for w, h in zip(second.weight[0], hidden, strict=True)) + second.bias[0]

    same = [-F.logsigmoid(logit(distance[i, j])) for i, j in pairs if labels[i] == labels[j]]
    other = [-F.logsigmoid(-logit(distance[p])) for p in sorted(mined)]
    score = (sum(same) / len(same) + sum(other) / len(other)) / 2
    return sum(hinges) / len(hinges) + cfg.omega * score


def gitdl(module, batch):
    """Eq. (9), both directions: each shared frame finds itself among the others, which weigh 1 - mu exp(-dt^2/2s^2)."""
    cfg, clips = module.cfg, len(batch.keys)
    both = module.encoder.project(module.encoder(torch.cat([batch.frames[:, 0], batch.frames[:, 1]])))
    losses = []
    for clip in range(clips):
        places = [{f: i for i, f in reversed(list(enumerate(ids.tolist())))} for ids in batch.frame_ids[clip]]
        shared = sorted(places[0].keys() & places[1].keys())
        time = {f: (f - shared[0]) / (shared[-1] - shared[0]) for f in shared}
        views = [{f: both[clip + view * clips, places[view][f]] for f in shared} for view in range(2)]
        total = 0
        for a, b in (views, views[::-1]):
            for f in shared:
                h = {o: (a[f] @ b[o] / cfg.tau).exp() for o in shared}
                weight = {o: 1 - cfg.mu * math.exp(-((time[f] - time[o]) ** 2) / (2 * cfg.sigma**2)) for o in shared}
                total = total - (h[f] / (h[f] + sum(weight[o] * h[o] for o in shared if o != f))).log()
        losses.append(total / (2 * len(shared)))
    return sum(losses) / len(losses)


def cross_entropy(module, batch):
    """Eq. (6)."""
    p = [row.exp() / row.exp().sum() for row in module.encoder(batch.frames[:, 0])]
    return -sum(row[label].log() for row, label in zip(p, batch.labels.tolist(), strict=True)) / len(p)


def info_nce(anchor, positive, others, tau):
    """Minus the log of h(a, p) over the sum of h(a, x), x of p and the others; h = exp(cosine / tau)."""
    h = [(F.cosine_similarity(anchor, x, dim=0) / tau).exp() for x in (positive, *others)]
    return -(h[0] / sum(h)).log()


def tclr(module, batch):
    """L_IC, L_LL and L_GL of TCLR, pair by pair: clips of a video, its local clips, the times of its global clip."""
    cfg, clips, tau = module.cfg, range(len(batch.keys)), module.cfg.tau
    with watched(module.encoder) as stages:
        features = module.encoder.features(batch.frames.flatten(0, 1))
    z = module.head(features).view(len(clips), 2, 5, -1)  # clip, augmentation, global and four local clips
    times = stages[-1].view(len(clips), 10, *stages[-1].shape[1:])[:, [0, 5]]
    assert times.shape[2] == 8  # tiny keeps all frames: a time is the mean of two
    spans = module.time_head(times.reshape(*times.shape[:2], 4, 2, -1).mean(3).flatten(0, 2))
    spans = spans.view(len(clips), 2, 4, -1)

    def instance(views):
        """NT-Xent of two views, both as the anchor."""
        total = []
        for a, b in (views, views[::-1]):
            for i in clips:
                others = [side[j] for side in (a, b) for j in clips if j != i]
                total.append(info_nce(a[i], b[i], others, tau))
        return sum(total) / len(total)

    local = [z[:, a, p] for a in range(2) for p in range(1, 5)]
    pairs = [instance(pair) for pair in itertools.combinations(local, 2)]
    l_ic = instance([z[:, 0, 0], z[:, 1, 0]]) + sum(pairs) / len(pairs)
    l_ll = l_gl = 0
    for i, p in itertools.product(clips, range(4)):
        for a in range(2):
            mine, other = z[i, a, 1:], z[i, 1 - a, 1:]
            others = [x[q] for x in (mine, other) for q in range(4) if q != p]
            l_ll = l_ll + info_nce(mine[p], other[p], others, tau) / 2
            for one, two in ((spans[i, a], mine), (mine, spans[i, a]), (spans[i, a], other), (other, spans[i, a])):
                l_gl = l_gl + info_nce(one[p], two[p], [two[q] for q in range(4) if q != p], tau) / 8
    return cfg.instance * l_ic + (cfg.local_local * l_ll + cfg.global_local * l_gl) / len(clips)


@pytest.mark.parametrize("stage", [gitdl, tclr, alignability, cross_entropy])
def test_a_step_is_what_the_equations_say(stage):
    module, torch_type = objective(stage.__name__).double(), torch.float64
    batch = clip_batch(clips=3 if stage is tclr else 5, views=VIEWS.get(stage.__name__, 1), dtype=torch_type)
    loss = module({"labelled": batch}).loss
    found = gradients(module, loss)
    oracle = stage(objective(stage.__name__).double(), batch)
    torch.testing.assert_close(loss, oracle, atol=1e-6, rtol=1e-5)  # times and weights of eq. (9) are float32
    again = objective(stage.__name__).double()
    wanted = gradients(again, stage(again, batch))
    assert found.keys() == wanted.keys()
    largest = max(value.abs().max() for value in wanted.values())
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-5 * largest.item(), rtol=1e-4, msg=name)
