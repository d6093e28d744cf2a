-- Who owns a conversation. No delete removes a row.
CREATE TABLE conversations (
    tenant TEXT NOT NULL,
    conversation TEXT NOT NULL,
    owner TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, conversation)
);

-- One row for each sandbox; `live` is 1 while it holds its conversation.
CREATE TABLE sandboxes (
    sandbox_id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    user_name TEXT NOT NULL,
    conversation TEXT NOT NULL,
    template TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    idle_timeout BIGINT NOT NULL,
    operations TEXT,
    live BIGINT NOT NULL,
    phase TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    generation BIGINT NOT NULL,
    instance_id TEXT,
    session_id TEXT,
    claimed_at BIGINT,
    cold BIGINT,
    complete BIGINT,
    gone BIGINT,
    expires_at BIGINT NOT NULL,
    workspace_version TEXT,
    ended_at BIGINT,
    exit_code BIGINT,
    signal BIGINT,
    last_output BYTEA,
    not_synced TEXT,
    bounds TEXT NOT NULL,
    awaits_environment BIGINT NOT NULL,
    version BIGINT NOT NULL
);

-- One live sandbox for each conversation.
CREATE UNIQUE INDEX sandboxes_live_conversation ON sandboxes (tenant, conversation) WHERE live = 1;
CREATE INDEX sandboxes_by_age ON sandboxes (tenant, created_at, sandbox_id);
CREATE INDEX sandboxes_by_end ON sandboxes (live, expires_at);
CREATE INDEX sandboxes_by_tombstone ON sandboxes (live, ended_at);

-- What was begun and is not finished; written with the row, before the first step.
CREATE TABLE intents (
    sandbox_id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    generation BIGINT NOT NULL,
    owner TEXT NOT NULL,
    lease_until BIGINT NOT NULL,
    begun_at BIGINT NOT NULL
);

-- Requests that were answered, so that a repetition gets the first one's answer.
CREATE TABLE request_ids (
    principal TEXT NOT NULL,
    rpc TEXT NOT NULL,
    request_id TEXT NOT NULL,
    content BYTEA NOT NULL,
    sandbox_id TEXT NOT NULL,
    created BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (principal, rpc, request_id)
);
CREATE INDEX request_ids_by_age ON request_ids (at);
