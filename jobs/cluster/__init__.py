"""Machines: a Ray cluster inside a Slurm allocation, the session of this process, what it holds, stop requests.

May import `config` for what a run asks for; knows no stage and no model.
"""
