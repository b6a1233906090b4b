"""Shards into batches of frames on a device: order, frames of a clip, augmentation, decoding, the reader on top.

May import `storage` and the strict probe of `sources`; never `write` or `annotations`: labels come in an `ItemTable`.
"""
