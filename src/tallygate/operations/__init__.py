"""What we do: one verb each, read -> decide -> write in one transaction."""
