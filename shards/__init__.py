"""Floor 1: bytes on disk to clips on a device. No ray, no model code."""
