-- Keys follow one another by `ordinal`; each signs from `signs_from` on until the next one does.
ALTER TABLE signing_keys ADD COLUMN ordinal BIGINT NOT NULL DEFAULT 1;
ALTER TABLE signing_keys ADD COLUMN signs_from BIGINT NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX signing_keys_by_ordinal ON signing_keys (ordinal);
