-- What estimates are corrected by: how far each was off, kept with the reconciliation that showed it.

-- What a call was expected to cost when it was asked for, and what its responses have cost so far.
ALTER TABLE call ADD COLUMN cold_nanos INTEGER CHECK (cold_nanos > 0);
ALTER TABLE call ADD COLUMN level_nanos INTEGER CHECK (level_nanos > 0);
ALTER TABLE call ADD COLUMN expected_nanos INTEGER CHECK (expected_nanos > 0);
ALTER TABLE call ADD COLUMN observed_nanos INTEGER CHECK (observed_nanos >= 0);

CREATE TABLE calibration_sample (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  call_id          TEXT NOT NULL,
  session_id       TEXT NOT NULL,
  kind             TEXT NOT NULL CHECK (kind IN ('agent', 'hook')),  -- whose number the estimate was
  client           TEXT NOT NULL,
  model            TEXT NOT NULL,
  agent            TEXT NOT NULL,
  at_us            INTEGER NOT NULL,
  estimate_nanos   INTEGER NOT NULL CHECK (estimate_nanos > 0),
  cold_nanos       INTEGER NOT NULL CHECK (cold_nanos > 0),
  level_nanos      INTEGER CHECK (level_nanos > 0),  -- none at the first call of an agent
  expected_nanos   INTEGER NOT NULL CHECK (expected_nanos > 0),
  actual_nanos     INTEGER NOT NULL CHECK (actual_nanos > 0),
  UNIQUE (tenant, call_id)
) STRICT;

CREATE INDEX calibration_of_key ON calibration_sample (tenant, kind, client, model, id);
-- First calls of an agent are few, and asked for by themselves.
CREATE INDEX calibration_cold ON calibration_sample (tenant, kind, client, model, id) WHERE level_nanos IS NULL;
CREATE INDEX calibration_of_session ON calibration_sample (tenant, session_id, id);

-- From when on samples count, for one client and model or (both empty) for all.
CREATE TABLE calibration_start (
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  model            TEXT NOT NULL,
  from_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, client, model)
) STRICT, WITHOUT ROWID;

-- What a provider bills for a model beyond what was recorded, as the user has accepted it from a review.
CREATE TABLE calibration_factor (
  tenant           TEXT NOT NULL,
  model            TEXT NOT NULL,
  factor_micros    INTEGER NOT NULL CHECK (factor_micros BETWEEN 1000 AND 1000000000),
  applied_us       INTEGER NOT NULL,
  PRIMARY KEY (tenant, model)
) STRICT, WITHOUT ROWID;
