"""The page in the user's browser: what it is asked, and the words and drawings in which it answers."""
