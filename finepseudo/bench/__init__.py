"""Studies that need no cluster: the method in one process on clips held in memory, and the alignment engine's speed.

May import everything of `finepseudo`; nothing here is imported by a run.
"""
