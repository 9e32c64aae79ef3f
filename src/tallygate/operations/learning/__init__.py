"""Estimates held against what was paid, and the history gone through again."""
