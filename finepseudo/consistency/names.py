"""Names of the views of an unlabelled clip. No torch: the command line reads them."""

WEAK = "weak"
"""What the teacher sees."""

STRONG = "strong"
"""What the student sees."""
