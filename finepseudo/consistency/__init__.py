"""The parts that consistency methods are made of: ramps, weighters, targets, perturbations, mixers, a teacher.

Each is small and knows no method: a method in `finepseudo.methods` puts them together. They take tensors and give
tensors; random draws come from a generator that the caller passes. May import `finepseudo.distributed` and torch.
"""
