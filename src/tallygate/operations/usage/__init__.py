"""Observed responses to rows, budgets and calls, once each, whoever tells of them."""
