"""Bills: kept whole or not at all, and reviewed beside estimates and record."""
