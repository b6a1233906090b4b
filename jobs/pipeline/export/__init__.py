"""What a run has learned, for programs that do not have this package: `finepseudo export`.

`models` writes the encoders, `preprocessing` says what they want to see, `loader` is copied beside them and is all that
is needed to use them; `features` writes what the encoders make of clips.
"""
