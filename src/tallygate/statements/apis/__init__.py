"""Billing APIs: asked within bounds, answers checked."""
