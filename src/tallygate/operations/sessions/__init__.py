"""Sessions: opened with a budget, ended with a line of the run log."""
