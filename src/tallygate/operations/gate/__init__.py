"""Authorize, a hook's step and a recorded call: one pipeline, three doors."""
