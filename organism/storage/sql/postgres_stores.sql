-- What is kept in this database, a row each: the log and the sessions. version: of the tables of that store. owner:
-- the organism that took the lock last. commits: the number of the last commit, so that one whose answer was lost can
-- be told from one that was not made.
CREATE TABLE IF NOT EXISTS organism.stores (
    name text PRIMARY KEY,
    version integer NOT NULL,
    owner text NOT NULL,
    commits bigint NOT NULL
);
