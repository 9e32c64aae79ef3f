"""What providers bill: read from files and asked from APIs."""
