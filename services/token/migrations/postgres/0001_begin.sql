-- What is true of the whole database: the incarnation of the feed.
CREATE TABLE facts (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- Keys that sign tokens and tickets. `sealed` is nonce, ciphertext and tag under the master key.
CREATE TABLE signing_keys (
    key_id TEXT NOT NULL PRIMARY KEY,
    algorithm TEXT NOT NULL,
    public_key BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    master_key_id TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Certificate authorities, each for one purpose.
CREATE TABLE roots (
    name TEXT NOT NULL PRIMARY KEY,
    certificate TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    master_key_id TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE tenants (
    tenant TEXT NOT NULL PRIMARY KEY,
    granted_operations TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
    api_key_id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenants (tenant),
    user_name TEXT,
    roles TEXT NOT NULL,
    may_name_users BIGINT NOT NULL,
    description TEXT NOT NULL,
    secret_hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at, api_key_id);

-- Numbers are given in commit order without gaps; no row is ever changed or removed.
CREATE TABLE revocations (
    sequence BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    value TEXT NOT NULL,
    reason TEXT NOT NULL,
    revoked_by TEXT NOT NULL,
    revoked_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX revocations_by_target ON revocations (kind, tenant, value);

-- Requests that created something, for as long as a repetition may come.
CREATE TABLE requests (
    principal TEXT NOT NULL,
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content_hash BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (principal, method, request_id)
);
