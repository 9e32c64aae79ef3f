-- Budgets above the session: windows of rules, in other currencies, in tokens or calls.

-- How many nano-dollars one unit of the currency is, for the whole session, and the day of that rate.
ALTER TABLE session ADD COLUMN usd_nanos INTEGER CHECK (usd_nanos > 0);
ALTER TABLE session ADD COLUMN rate_day TEXT;
-- The rules of the settings that bind this session, so that whoever books its responses knows them.
ALTER TABLE session ADD COLUMN rules TEXT;

-- Amounts of a budget are in its own unit: nano-units of a currency, or whole tokens or calls.
ALTER TABLE budget ADD COLUMN usd_nanos INTEGER CHECK (usd_nanos > 0);
ALTER TABLE budget ADD COLUMN rate_day TEXT;
-- The limit of the rule when it was last applied: a limit that the user has raised since keeps the difference.
-- Of a session's own budget: the limit it was opened with.
ALTER TABLE budget ADD COLUMN rule_limit INTEGER;

-- When the caller was told that most of the session's budget is used: it is said once.
ALTER TABLE session ADD COLUMN warned_us INTEGER;
