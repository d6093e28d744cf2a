-- How much a tenant and its users may use. `user_name` is empty for the tenant as a whole, `*` for each user without
-- a row. What is used is never counted in a row: it is what `sandboxes` says.
CREATE TABLE quotas (
    tenant TEXT NOT NULL,
    user_name TEXT NOT NULL,
    live BIGINT,
    suspended BIGINT,
    memory BIGINT,
    starts_per_second BIGINT,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, user_name)
);

-- How many starts are left, in millionths, at an instant; only where starts are limited.
CREATE TABLE start_rates (
    tenant TEXT NOT NULL,
    user_name TEXT NOT NULL,
    left_micros BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (tenant, user_name)
);

ALTER TABLE sandboxes ADD COLUMN memory BIGINT NOT NULL DEFAULT 0;
CREATE INDEX sandboxes_by_user ON sandboxes (tenant, user_name, phase) WHERE live = 1;
