-- The lifetime that a create asked for, which an extension does not change, and whether the conversation's
-- processes have an environment, whose values are never here.
ALTER TABLE sandboxes ADD COLUMN ttl BIGINT NOT NULL DEFAULT 0;
UPDATE sandboxes SET ttl = expires_at - created_at;
ALTER TABLE sandboxes ADD COLUMN has_environment BIGINT NOT NULL DEFAULT 0;
UPDATE sandboxes SET has_environment = awaits_environment;
