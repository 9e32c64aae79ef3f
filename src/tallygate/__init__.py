"""Spend gate and tally for AI agents."""

__version__ = "0.1.0"
