"""What trained weights are worth: metrics against true labels, and the prediction of one clip with its evidence.

May import `soft_dtw`; labels of unlabelled clips enter here and nowhere else.
"""
