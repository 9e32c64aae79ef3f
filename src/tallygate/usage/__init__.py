"""What was really used, told by providers."""
