-- Written before somebody is told what is left: where this cannot be written, nothing that is spent can be either.

CREATE TABLE proof (
  one              INTEGER PRIMARY KEY CHECK (one = 1),
  written          INTEGER NOT NULL
) STRICT;
