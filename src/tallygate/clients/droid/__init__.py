"""Droid, by Factory: built from its public documentation, not measured."""
