"""The ledger of a team, in a PostgreSQL database: psycopg is imported here and nowhere else, once it is opened."""
