"""Backend `reference`: float64 and the plain double loop, one pair at a time. Slow and meant to be doubted last.

Equations: Cuturi and Blondel, "Soft-DTW: a differentiable loss function for time-series" (ICML 2017), algorithms 1
and 2, on the cost 1 - cosine.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

INF = math.inf
Grid = list[list[float]]


def soft_min(a: float, b: float, c: float, gamma: float) -> float:
    """Return -gamma log(e^(-a/gamma) + e^(-b/gamma) + e^(-c/gamma)); NaN in, NaN out."""
    if math.isnan(a + b + c):
        return math.nan
    low = min(a, b, c)
    return low - gamma * math.log(sum(math.exp((low - v) / gamma) for v in (a, b, c)))


def forward_table(cost: Grid, gamma: float) -> Grid:
    """Fill R, (N + 1) x (M + 1) with its border, from a cost of N x M."""
    n, m = len(cost), len(cost[0])
    table = [[INF] * (m + 1) for _ in range(n + 1)]
    table[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            table[i + 1][j + 1] = cost[i][j] + soft_min(table[i][j], table[i][j + 1], table[i + 1][j], gamma)
    return table


def expected_alignment(cost: Grid, gamma: float) -> Grid:
    """Return E = dR(N, M)/dcost, N x M, by the recursion over successors (algorithm 2)."""
    n, m = len(cost), len(cost[0])
    table = forward_table(cost, gamma)
    mass = [[0.0] * (m + 1) for _ in range(n + 1)]
    mass[n - 1][m - 1] = 1.0
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            here = table[i + 1][j + 1]
            for p, q in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
                if p < n and q < m:
                    mass[i][j] += mass[p][q] * math.exp((table[p + 1][q + 1] - cost[p][q] - here) / gamma)
    return [row[:m] for row in mass[:n]]


def pair_cost(x: Tensor, y: Tensor) -> Tensor:
    """Return the float64 cost [N, M] of two sequences of unit rows [N, F] and [M, F]."""
    return 1.0 - x.double() @ y.double().T


def rectangle(x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float) -> Tensor:
    """Return D float64 [U, G] of unit rows x [U, T, F] and y [G, T', F]."""
    out = torch.empty(len(x), len(y), dtype=torch.float64)
    for u in range(len(x)):
        for g in range(len(y)):
            cost = pair_cost(x[u, : x_len[u]], y[g, : y_len[g]]).tolist()
            out[u, g] = forward_table(cost, gamma)[-1][-1]
    return out.to(x.device)


def rectangle_backward(
    grad: Tensor, x: Tensor, y: Tensor, x_len: Tensor, y_len: Tensor, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return the float64 gradients of `rectangle` for the unit rows x and y, given grad [U, G]."""
    grad_x = torch.zeros_like(x, dtype=torch.float64)
    grad_y = torch.zeros_like(y, dtype=torch.float64)
    for u, g in grad.nonzero().tolist():
        a, b = x[u, : x_len[u]].double(), y[g, : y_len[g]].double()
        mass = torch.tensor(expected_alignment(pair_cost(a, b).tolist(), gamma), dtype=torch.float64, device=x.device)
        mass *= grad[u, g].double()
        grad_x[u, : len(a)] -= mass @ b
        grad_y[g, : len(b)] -= mass.T @ a
    return grad_x, grad_y


def hard_path(cost: Tensor) -> tuple[float, list[tuple[int, int]]]:
    """Return the least sum of cost [N, M] over a monotone path and that path from (0, 0) to (N-1, M-1).

    Ties take the diagonal first, then the step up.
    """
    grid = cost.tolist()
    n, m = len(grid), len(grid[0])
    table = [[INF] * (m + 1) for _ in range(n + 1)]
    table[0][0] = 0.0
    for i in range(n):
        for j in range(m):
            table[i + 1][j + 1] = grid[i][j] + min(table[i][j], table[i][j + 1], table[i + 1][j])
    path = [(n, m)]
    while path[-1] != (1, 1):
        i, j = path[-1]
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        path.append(min(steps, key=lambda s: table[s[0]][s[1]]))
    return table[n][m], [(i - 1, j - 1) for i, j in reversed(path)]
