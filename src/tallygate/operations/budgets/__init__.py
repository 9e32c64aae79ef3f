"""Every budget that a step spends: which apply, what changes them, and the ways to another limit."""
