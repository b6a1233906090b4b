"""Rendered dives: classes differ only by what the diver does and in which order.

Imports nothing else of `shards`: a generator of videos that `annotations` and the benchmarks call.
"""
