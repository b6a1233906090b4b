"""Searches over the keys of a run with Ray Tune.

May import `pipeline` and what is below it.
"""
