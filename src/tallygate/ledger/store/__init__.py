"""The SQL of one subject each; transaction.py puts them together."""
