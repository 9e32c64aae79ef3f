"""What a step will probably cost, learned from what steps did cost."""
