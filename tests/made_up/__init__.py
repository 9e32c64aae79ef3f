"""A client that nobody has: everything that Tallygate needs to know of one, in a folder."""
