"""The methods: one file each, listed in `table`. `base` is the contract, `rounds` the plans, `voting` shared votes.

A method's file is read by the command line and by the report, so nothing at its top imports torch: an objective is
built by a function, which imports what it trains with. May import `training` and everything below it, and of
`shards.read` what a stream asks for; never `evaluation`, `report` or a benchmark.
"""
