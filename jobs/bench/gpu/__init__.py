"""`finepseudo bench gpu`: what a GPU gives the training, the encoders, the reading and the alignment, as JSON.

One module a part, each `measure(tiny)` giving (name, numbers) as it goes, on `device()`. `parts` runs each in a process
of its own with a limit, so that a crash or a hang costs only what had not been measured yet. `tiny` is for a rehearsal
without a GPU: its numbers mean nothing.
"""
