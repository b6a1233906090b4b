"""Clips into shards: the plan of what goes where, one encoding for all, tars and manifest, the claim on a store.

May import `sources` and `storage`; never `read`: what is written is found by the manifest alone.
"""
