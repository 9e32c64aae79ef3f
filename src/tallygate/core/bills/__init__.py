"""What providers billed, held against what was recorded."""
