"""The networks: f_E (action encoder), f_A (frame encoder), their backbones, and published weights laid over them.

May import `distributed`; knows nothing of losses, data sets or methods.
"""
