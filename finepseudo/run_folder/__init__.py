"""The files of a run: where they are (`layout`), how they are written (`files`), when a stage is done, what made it.

May import `shards.files` and `shards.errors`; knows no stage by name.
"""
