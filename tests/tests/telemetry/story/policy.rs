//! The routes of the story: a backend that speaks HTTP, with a credential, and one that speaks gRPC.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use sandgate_e2e::backend::Backend;
use sandgate_e2e::collector::Witness;
use sandgate_e2e::mesh::Home;

use super::UPSTREAM_SECRET;

/// Writes it, and answers where it is.
pub(super) fn write(home: &Home, backend: &Witness, scores: &Backend) -> PathBuf {
    let key = home.path().join("upstream.key");
    std::fs::write(&key, format!("{UPSTREAM_SECRET}\n")).expect("a credential");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("chmod");
    let text = format!(
        "version: 1
routes:
  - name: notes
    http:
      path_prefix: /note
      methods: [POST]
    operation: note
    tenants: [default]
    upstream:
      url: http://{}
    forward:
      request_headers: [x-note]
    credential:
      header: x-upstream-key
      file: {}
  - name: scores
    grpc:
      methods: [scores.v1.ScoreService/Score]
    operation: score
    upstream:
      url: http://{}
",
        backend.address,
        key.display(),
        scores.address
    );
    let file = home.path().join("policy.yaml");
    std::fs::write(&file, text).expect("a policy");
    file
}
