"""Floor 3: Ray Train, Ray Data, Ray Tune, submitit and the command line. Nothing imports it."""
