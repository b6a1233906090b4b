"""One training step and what surrounds it: objectives, optimiser and schedule, checkpoints. No loop, no cluster.

May import `encoders`, `alignment`, `soft_dtw` and `distributed`.
"""
