"""How networks are computed: precision, layout, compilation and repeatable bits are settled here and nowhere else.

`config` holds what recipes say of it, without torch; `networks` does it.
"""
