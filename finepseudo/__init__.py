"""Floor 2: the method. Tensors and tables in, tensors and tables out; no ray, no tar files."""
