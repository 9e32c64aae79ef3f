-- What the settings said of prices when a session was opened: it goes on at no lower ones. None for sessions from before.
ALTER TABLE session ADD COLUMN prices TEXT;

CREATE TABLE price_list (
  tenant         TEXT NOT NULL,
  list_id        TEXT NOT NULL,
  stated         TEXT NOT NULL,
  PRIMARY KEY (tenant, list_id)
) STRICT, WITHOUT ROWID;
