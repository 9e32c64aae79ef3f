-- Of which repository a folder was a worktree when something was first read or opened there: it may be gone since.
CREATE TABLE worktree (
  tenant           TEXT NOT NULL,
  top              TEXT NOT NULL,
  repository       TEXT NOT NULL,
  PRIMARY KEY (tenant, top)
) STRICT, WITHOUT ROWID;
