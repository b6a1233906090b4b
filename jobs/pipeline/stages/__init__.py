"""The stages of a run: what each reads, writes and depends on, and the worker that it calls.

May import what `pipeline` may; never the plan or the runner.
"""
