"""Spend gate and tally for AI agents."""

import os

__version__ = "0.1.0"

# Whose child this process is, asked before anything that takes time: a client may die while its server starts.
PARENT = os.getppid()
