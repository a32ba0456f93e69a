"""What a test has predicted: the form in which models give it, and measures of how good it is. NumPy alone."""
