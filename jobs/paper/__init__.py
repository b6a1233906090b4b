"""Tables of papers as runs: which recipe and keys each cell is made with, what runs share, and what is read from them.

It knows rows, columns and run folders, no method by name: `finepseudo/recipes/paper/*.yaml` name those.
"""
