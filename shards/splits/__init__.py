"""Who is labelled, who is not and who is tested: the draw of a label split, and what leaks between its sides.

May import `shards.annotations`; knows nothing of tars or decoding.
"""
