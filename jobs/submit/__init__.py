"""A run as a chain of Slurm jobs.

May import `pipeline` and what is below it; it is given the command line that its jobs call, it never imports it.
"""
