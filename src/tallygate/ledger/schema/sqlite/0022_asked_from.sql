-- Who asked for a call, and where that stood, where it is none of its session's clients and not its project.
ALTER TABLE call ADD COLUMN asked_by TEXT;
ALTER TABLE call ADD COLUMN folder TEXT;
