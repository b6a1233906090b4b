"""Rendered dives: classes differ only by what the diver does and in which order."""
