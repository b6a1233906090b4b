"""Learning to align: f_S and the losses of metric learning, GITDL pre-training, the gallery that the pool is scored by.

May import `soft_dtw` and `distributed`; takes embeddings, never a network or a clip.
"""
