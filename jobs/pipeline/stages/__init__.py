"""The stages of a run, one file each: what it reads, writes and depends on, and the worker that it calls.

`base` is what they have in common, `training` what the three trainings have. A stage knows methods by their contract
(finepseudo/methods/base.py), never by name. May import what `pipeline` may; never the plan or the runner.
"""
