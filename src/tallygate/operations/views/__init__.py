"""What people look at: reads only, shared by every way in."""
