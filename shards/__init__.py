"""Floor 1: bytes on disk to clips on a device. No ray, no model code.

On top of each other, each importing only what stands below it:

    bench
    check | read
    splits | write
    annotations
    sources
    storage | synthetic
    files
    types
    settings
    errors
"""
