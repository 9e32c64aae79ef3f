"""What a call costs, as of a time."""
