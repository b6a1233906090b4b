"""A run: the plan of its stages, the runner that runs what is not done, the folder it works in, what made it.

May import `workers`, `cluster`, `progress` and `config`; parses no arguments and submits nothing.
"""
