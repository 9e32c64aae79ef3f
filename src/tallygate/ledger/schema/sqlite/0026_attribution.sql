-- Whom a response was made for; NULL where its client's record does not tell.

ALTER TABLE usage ADD COLUMN agent_type TEXT;
ALTER TABLE usage ADD COLUMN skill TEXT;
-- [[server, tool], ...]: the tools it called and those whose results it read, sorted; no server for the client's own.
-- Its cost is shared out among them in equal parts; of a response that served none all of it is the rest.
ALTER TABLE usage ADD COLUMN served TEXT;
ALTER TABLE usage ADD COLUMN branch TEXT;
-- The repository's folder, where it is another one than the folder that the response was made in.
ALTER TABLE usage ADD COLUMN repository TEXT;

-- In which form a file was read from its start; one of an older form is read once more for what that left out.
ALTER TABLE transcript_file ADD COLUMN form INTEGER;
