//! `sandgate key`.

use std::process::ExitCode;

use sandgate_api::token::v1 as pb;
use tonic::Request;

use super::shown;
use crate::args::{AlgorithmArg, KeyVerb};
use crate::client::Client;
use crate::conversation::answered;
use crate::report::print;

/// Does what is asked, and prints the keys as they are then.
pub(crate) async fn signing_key(client: &Client, verb: &KeyVerb) -> anyhow::Result<ExitCode> {
    let mut keys = client.signing_keys();
    let left = match verb {
        KeyVerb::List => {
            let request = Request::new(pb::ListSigningKeysRequest {});
            answered(client, keys.list_signing_keys(request))
                .await?
                .signing_keys
        }
        KeyVerb::Rotate { algorithm } => {
            let algorithm = match algorithm {
                None => pb::SigningAlgorithm::Unspecified,
                Some(AlgorithmArg::Eddsa) => pb::SigningAlgorithm::Eddsa,
                Some(AlgorithmArg::Es256) => pb::SigningAlgorithm::Es256,
            };
            let request = Request::new(pb::RotateSigningKeyRequest {
                algorithm: algorithm.into(),
            });
            answered(client, keys.rotate_signing_key(request))
                .await?
                .signing_keys
        }
        KeyVerb::Retire { id } => {
            let request = Request::new(pb::RetireSigningKeyRequest { key_id: id.clone() });
            answered(client, keys.retire_signing_key(request))
                .await?
                .signing_keys
        }
    };
    print(&row(["KEY", "ALGORITHM", "STATE", "SIGNS FROM", "LEAVES"]))?;
    for key in &left {
        let algorithm = key.algorithm().as_str_name();
        let algorithm = algorithm
            .trim_start_matches("SIGNING_ALGORITHM_")
            .to_lowercase();
        let state = key.state().as_str_name();
        let state = state
            .trim_start_matches("SIGNING_KEY_STATE_")
            .to_lowercase();
        let (from, leaves) = (
            shown(key.signs_from.as_ref()),
            shown(key.leaves_at.as_ref()),
        );
        print(&row([&key.key_id, &algorithm, &state, &from, &leaves]))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row([key, algorithm, state, from, leaves]: [&str; 5]) -> String {
    format!("{key:<16} {algorithm:<9} {state:<8} {from:<20} {leaves}")
}
