"""`finepseudo doctor`: is this machine, cluster and folder fit for a run; one check a line.

May import `cluster`, `config` and what is below them; a check writes nothing that it does not remove.
"""
