-- What is signed of events, with the exact bytes; facts beside the chain, since an event cannot hold its own signature.

-- A row without an envelope is due: written with its event, signed after the commit.
CREATE TABLE attestation (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  attestation_id   TEXT NOT NULL CHECK (length(attestation_id) = 36),
  kind             TEXT NOT NULL CHECK (kind IN ('budget-exhausted', 'session-summary', 'checkpoint')),
  session_id       TEXT,
  call_id          TEXT,
  seq              INTEGER NOT NULL CHECK (seq > 0),
  event_hash       BLOB NOT NULL CHECK (length(event_hash) = 32),
  payload          BLOB,
  envelope         TEXT,
  keyid            TEXT,
  issued_us        INTEGER,
  CHECK ((envelope IS NULL) = (payload IS NULL) AND (envelope IS NULL) = (keyid IS NULL)
    AND (envelope IS NULL) = (issued_us IS NULL)),
  UNIQUE (tenant, attestation_id)
) STRICT;

CREATE INDEX attestation_due ON attestation (tenant, id) WHERE envelope IS NULL;
CREATE INDEX attestation_of_session ON attestation (tenant, session_id, id) WHERE session_id IS NOT NULL;
CREATE INDEX attestation_of_call ON attestation (tenant, call_id) WHERE call_id IS NOT NULL;

CREATE TRIGGER attestation_is_signed_once BEFORE UPDATE ON attestation WHEN OLD.envelope IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a signed attestation never changes'); END;

-- The keys that signed here, each since the event that tells of it.
CREATE TABLE signing_key (
  tenant           TEXT NOT NULL,
  keyid            TEXT NOT NULL,
  public           TEXT NOT NULL,
  seq              INTEGER NOT NULL CHECK (seq > 0),
  at_us            INTEGER NOT NULL,
  PRIMARY KEY (tenant, keyid)
) STRICT, WITHOUT ROWID;
