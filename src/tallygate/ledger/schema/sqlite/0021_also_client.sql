-- What a session's client is called beside the name it has: the one an agent said, or the one it connected by.
ALTER TABLE session ADD COLUMN also_client TEXT;
