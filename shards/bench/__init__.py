"""Measures reading and writing of shards against the bare libraries below them; nothing here is imported by a run.

May import everything of `shards`.
"""
