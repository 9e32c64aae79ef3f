"""Putting entries into files of clients, and taking exactly those out again."""
