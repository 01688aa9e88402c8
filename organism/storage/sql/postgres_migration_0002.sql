-- Who pays for the tokens that are used in a thread; nobody does for those of before. As UTF-8 and no text: a name that
-- comes from elsewhere may have a NUL.
ALTER TABLE organism.threads ADD COLUMN owner bytea;
