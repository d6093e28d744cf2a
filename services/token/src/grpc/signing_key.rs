//! SigningKeyService.

use sandgate_api::timestamp_to;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::signing_key_service_server::SigningKeyService;
use sandgate_rpc::Fault;
use sandgate_session::Algorithm;
use sandgate_types::Malformed;
use tonic::{Request, Response};

use super::{Handlers, Reply};
use crate::error::not_recorded;
use crate::keys::Told;
use crate::rotation::Phase;

#[tonic::async_trait]
impl SigningKeyService for Handlers {
    async fn list_signing_keys(
        &self,
        request: Request<pb::ListSigningKeysRequest>,
    ) -> Reply<pb::ListSigningKeysResponse> {
        let pb::ListSigningKeysRequest {} = request.into_inner();
        let core = self.core()?;
        let keys = core.keys.list(core.clock.now()).await;
        Ok(Response::new(pb::ListSigningKeysResponse {
            signing_keys: keys_to(keys.map_err(Fault::from)?),
        }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<pb::RotateSigningKeyRequest>,
    ) -> Reply<pb::RotateSigningKeyResponse> {
        let (core, recorder) = self.recorded(&request)?;
        let pb::RotateSigningKeyRequest { algorithm } = request.into_inner();
        let algorithm = algorithm_from(algorithm).map_err(Fault::from)?;
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let keys = core.keys.rotate(algorithm, core.clock.now()).await;
        Ok(Response::new(pb::RotateSigningKeyResponse {
            signing_keys: keys_to(keys.map_err(Fault::from)?),
        }))
    }

    async fn retire_signing_key(
        &self,
        request: Request<pb::RetireSigningKeyRequest>,
    ) -> Reply<pb::RetireSigningKeyResponse> {
        let (core, recorder) = self.recorded(&request)?;
        let pb::RetireSigningKeyRequest { key_id } = request.into_inner();
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let keys = core.keys.retire(&key_id, core.clock.now()).await;
        Ok(Response::new(pb::RetireSigningKeyResponse {
            signing_keys: keys_to(keys.map_err(Fault::from)?),
        }))
    }
}

fn algorithm_from(number: i32) -> Result<Option<Algorithm>, Malformed> {
    let refuse = |_| Malformed::new("algorithm", "must be an algorithm");
    let wanted = pb::SigningAlgorithm::try_from(number).map_err(refuse)?;
    Ok(match wanted {
        pb::SigningAlgorithm::Unspecified => None,
        pb::SigningAlgorithm::Eddsa => Some(Algorithm::EdDsa),
        pb::SigningAlgorithm::Es256 => Some(Algorithm::Es256),
    })
}

fn keys_to(keys: Vec<Told>) -> Vec<pb::SigningKey> {
    keys.into_iter().map(key_to).collect()
}

fn key_to(key: Told) -> pb::SigningKey {
    let Told {
        key_id,
        algorithm,
        phase,
        created_at,
        signs_from,
    } = key;
    let algorithm = match Algorithm::named(&algorithm) {
        Some(Algorithm::EdDsa) => pb::SigningAlgorithm::Eddsa,
        Some(Algorithm::Es256) => pb::SigningAlgorithm::Es256,
        None => pb::SigningAlgorithm::Unspecified,
    };
    let (state, leaves_at) = match phase {
        Phase::Upcoming => (pb::SigningKeyState::Upcoming, None),
        Phase::Active => (pb::SigningKeyState::Active, None),
        Phase::Retiring(until) => (pb::SigningKeyState::Retiring, Some(timestamp_to(until))),
    };
    pb::SigningKey {
        key_id,
        algorithm: algorithm.into(),
        state: state.into(),
        created_at: Some(timestamp_to(created_at)),
        signs_from: Some(timestamp_to(signs_from)),
        leaves_at,
    }
}
