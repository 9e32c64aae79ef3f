-- The tenant whose server opened a session among the rows of another tenant, as its caller named it; none for its own.
ALTER TABLE session ADD COLUMN opened_from TEXT;

CREATE INDEX session_reached ON session (opened_from, tenant) WHERE opened_from IS NOT NULL;
