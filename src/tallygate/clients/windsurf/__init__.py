"""Windsurf: what it needs to be installed; it writes no transcripts that are read."""
