-- A window counts everything on record in its span, whoever was asked before, and begins with what was there already.

-- From when on; with `resets_us` its span. 0 where it has no end: one for ever, or one that stands for a rolling period.
-- None of a session's own budget, and of a window that an older version made, until it is next asked for.
ALTER TABLE budget ADD COLUMN start_us INTEGER;
-- What of `spent_nanos` was on record before the window was: no call or response states it.
ALTER TABLE budget ADD COLUMN seed_nanos INTEGER;
-- Of a rolling period: [[added, until], ...], what the user has added until what it was added for has aged out.
ALTER TABLE budget ADD COLUMN raises TEXT;
-- Of a model: the names that the user's aliases had for it when the window was made, as a list.
ALTER TABLE budget ADD COLUMN also TEXT;

CREATE INDEX budget_window ON budget (tenant, period, start_us) WHERE start_us IS NOT NULL;
CREATE INDEX budget_lasting ON budget (tenant, period) WHERE start_us = 0;
