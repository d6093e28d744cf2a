-- Records of all writers, as they were written.
CREATE TABLE audit_records (
    writer TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at BIGINT NOT NULL,
    decision BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    sandbox_id TEXT NOT NULL,
    hash BYTEA NOT NULL,
    record BYTEA NOT NULL,
    PRIMARY KEY (writer, sequence)
);
CREATE INDEX audit_records_by_tenant ON audit_records (tenant, at, writer, sequence);
