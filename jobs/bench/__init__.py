"""The benchmarks that need data or several packages: what `finepseudo bench` measures besides the alignment engine.

May import `finepseudo.bench` and `shards.bench`; nothing here is imported by a run.
"""
