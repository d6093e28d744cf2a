-- API keys that end by themselves, and tenants whose grants change: each replica reads what changed since.
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE api_keys ADD COLUMN lifetime BIGINT;
CREATE INDEX api_keys_by_end ON api_keys (expires_at) WHERE expires_at IS NOT NULL AND revoked_at IS NULL;
ALTER TABLE tenants ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tenants_by_change ON tenants (updated_at, tenant);
