"""Floor 3: Ray Train, Ray Data, Ray Tune, submitit and the command line. Nothing imports it.

On top of each other, each importing only what stands below it:

    cli
    submit | tune | bench
    pipeline
    workers
    cluster | progress
    config
"""
