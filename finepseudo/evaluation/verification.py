"""Do two clips show the same class? Four measures of a pair, judged by average precision (FinePseudo, Fig. 1c).

Pooled cosine, frame-wise cosine, DTW and the learned score S. Balanced: as many pairs of one class as of two, a seeded
draw; natural: every pair of two clips, where same-class ones are few. Pair sampling and metric are open in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from finepseudo.alignment.distances import framewise_cosine, pooled_cosine
from finepseudo.evaluation.metrics import average_precision, balanced_pairs

Study = dict[str, dict[str, float]]


def verification_study(
    embeddings: Tensor, labels: Sequence[int], dtw: Tensor, score: Tensor, seed: int
) -> Study | None:
    """Judge the measures on all pairs of clips; None where no two clips, or all, are of one class.

    embeddings [N, T, F]; labels [N]; dtw [N, N] distances; score [N, N] S.
    """
    i, j, same = balanced_pairs(labels, seed)
    if not len(same):
        return None
    measures = {
        "pooled": -pooled_cosine(embeddings, embeddings),
        "framewise": -framewise_cosine(embeddings, embeddings),
        "dtw": -dtw,
        "score": score,
    }
    label = np.asarray(labels)
    upper = np.triu_indices(len(label), k=1)
    found: Study = {}
    for name, values in measures.items():
        value = values.cpu().numpy()
        natural = average_precision(value[upper], label[upper[0]] == label[upper[1]])
        found[name] = {"balanced": average_precision(value[i, j], same), "natural": natural}
    return found
