"""What the methods differ in: how two votes become pseudo-labels.

May import `training` and everything below it; never `evaluation`, `report` or a benchmark.
"""
