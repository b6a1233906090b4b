"""Where shards lie: folders and object stores, tars and their index, the manifest, copies on a node's disk.

Bytes and byte ranges, never pixels or labels. May import `files` and `errors` alone.
"""
