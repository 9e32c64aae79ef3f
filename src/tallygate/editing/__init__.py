"""JSON with comments, TOML and text, edited in place byte for byte; knows no client."""
