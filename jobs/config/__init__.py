"""The configuration of a run: its sections, how it is built from a recipe, the rules that no single section can see.

Values only: imports the configs of all three packages and nothing else of `jobs`.
"""
