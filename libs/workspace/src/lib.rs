//! What sandboxd and storage-sync must agree on: manifests, chunks, safe tree walks.
