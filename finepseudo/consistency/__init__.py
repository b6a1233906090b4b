"""The parts that consistency methods are made of, and the one objective that puts them together.

Ramps, weighters, targets, perturbations, mixers and a teacher are small and know no method: a method in
`finepseudo.methods` chooses them. They take tensors and give tensors; random draws come from a generator that the
caller passes. May import `finepseudo.training` and everything below it.
"""
