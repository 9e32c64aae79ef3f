"""A statement's file taken apart: form, content, cells, rows."""
