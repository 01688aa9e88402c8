-- Who pays for the tokens that are used in a thread; nobody does for those of before.
ALTER TABLE threads ADD COLUMN owner TEXT;
