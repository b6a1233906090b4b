"""Findings about a data set before a run: what is missing, which classes lack labels, what leaks.

May import `annotations`, `splits` and `sources`; changes nothing but the list of missing files.
"""
