"""`finepseudo bench train`: what training costs beside its peers, and whether it is the same training everywhere.

An epoch on kept frame features beside one on frames; our networks beside torchvision's and timm's; what is kept for the
backward pass; one worker beside two; a run that is cut off beside one that is not. `__main__` prints the page.
"""
