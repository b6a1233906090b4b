"""`finepseudo plan`: hours, bytes and memory of a run on a cluster, from rates that were measured.

May import `pipeline` and what is below it.
"""
