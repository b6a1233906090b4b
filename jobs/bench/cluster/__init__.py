"""`finepseudo bench cluster`: what Ray adds, what a second worker brings, how soon a run stops, what memory it takes.

One file a workload, all through the stages' own doors, each beside a bare loop over the same thing; `__main__` prints
the page.
"""
