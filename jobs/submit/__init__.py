"""A run as a chain of Slurm jobs: its steps, the folders of its label draws, what Slurm is told and says of it.

May import `pipeline` and what is below it; it is given the command line that its jobs call, it never imports it.
"""
