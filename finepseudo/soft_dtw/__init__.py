"""Soft-DTW of many pairs of videos: cosine cost, small gamma, exact gradients, gallery scale.

D(u, v) is the soft-minimal sum of 1 - cosine(u_i, v_j) over monotone paths (Cuturi and Blondel, ICML 2017): eq. (1) of
FinePseudo, and class means of a score of D its eq. (7).
"""

from finepseudo.soft_dtw.bank import AlignmentBank
from finepseudo.soft_dtw.gallery_scores import class_alignability, soft_dtw_cdist
from finepseudo.soft_dtw.pairwise import hard_path, soft_alignment, soft_dtw_pairwise

__all__ = [
    "AlignmentBank",
    "class_alignability",
    "hard_path",
    "soft_alignment",
    "soft_dtw_cdist",
    "soft_dtw_pairwise",
]
