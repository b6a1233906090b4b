"""The methods: one file each, listed in `table`. `base` is the contract, `rounds` the plans, `voting` shared votes.

A method's file is read by the command line, so nothing at its top imports torch or numpy: an objective is built, and a
vote counted, by a function that imports what it works with. May import `training` and everything below it, and of
`shards.read` what a stream asks for; never `evaluation`, `report` or a benchmark.
"""
