"""Floor 2: the method. Tensors and tables in, tensors and tables out; no ray, no tar files.

Of `shards` it takes errors, settings, types and the way of writing files. On top of each other, each importing only
what stands below it:

    bench
    evaluation | report
    methods
    training
    alignment | encoders
    soft_dtw | run_folder
    distributed
    batch_norm | compute

`recipes` and `templates` hold data files.
"""
