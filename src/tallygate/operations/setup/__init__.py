"""Tallygate put into clients and taken out, a newer price list, another program's history."""
