"""What we keep: the only SQL. Events are the truth, the other tables are a projection of them."""
