-- What a tenant's objects are named and cut by. Erasing the row makes all of its names meaningless.
CREATE TABLE tenants (
    tenant     TEXT   NOT NULL PRIMARY KEY,
    secret     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL
);

-- A workspace: the head moves by compare-and-swap on `version`. The instance is the last that synced, which
-- keeps earlier runs of the same sandbox out.
CREATE TABLE workspaces (
    workspace_id TEXT   NOT NULL PRIMARY KEY,
    tenant       TEXT   NOT NULL,
    user_name    TEXT   NOT NULL,
    conversation TEXT   NOT NULL,
    head         TEXT,
    version      BIGINT NOT NULL,
    sandbox_id   TEXT,
    generation   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL
);

-- Versions are immutable and numbered within their workspace.
CREATE TABLE versions (
    version_id   TEXT   NOT NULL PRIMARY KEY,
    workspace_id TEXT   NOT NULL,
    number       BIGINT NOT NULL,
    parent       TEXT,
    root         BYTEA  NOT NULL,
    entries      BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    origin       BIGINT NOT NULL,
    created_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX versions_by_number ON versions (workspace_id, number);

-- Chunks that a workspace may refer to.
CREATE TABLE chunks (
    workspace_id TEXT   NOT NULL,
    name         BYTEA  NOT NULL,
    length       BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, name)
);

-- Uploads in progress; one that committed stays until it expires, so that a repeated commit gets its answer.
CREATE TABLE uploads (
    upload_id    TEXT   NOT NULL PRIMARY KEY,
    workspace_id TEXT   NOT NULL,
    instance_id  TEXT   NOT NULL,
    parent       TEXT,
    chunks       BIGINT NOT NULL,
    bytes        BIGINT NOT NULL,
    committed    TEXT,
    fingerprint  BYTEA,
    created_at   BIGINT NOT NULL
);
CREATE INDEX uploads_by_workspace ON uploads (workspace_id);
CREATE INDEX uploads_by_age ON uploads (created_at);

-- Chunks that only this upload may refer to yet.
CREATE TABLE upload_chunks (
    upload_id TEXT   NOT NULL,
    name      BYTEA  NOT NULL,
    length    BIGINT NOT NULL,
    PRIMARY KEY (upload_id, name)
);

-- Requests that named themselves, and what came of them.
CREATE TABLE requests (
    scope       TEXT   NOT NULL,
    request_id  TEXT   NOT NULL,
    fingerprint BYTEA  NOT NULL,
    version_id  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (scope, request_id)
);
CREATE INDEX requests_by_age ON requests (created_at);
