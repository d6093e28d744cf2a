//! The peer: this binary again, as a server of tonic's that signs and answers and does nothing else.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::token_service_server::{TokenService, TokenServiceServer};
use sandgate_e2e::tls;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The argument that makes this binary the peer; the folder of the certificates follows, and the lengths of the
/// three signed texts of an answer of ours.
pub(crate) const ROLE: &str = "--as-peer";
/// A signature in base64url, and the dot before it.
const SIGNATURE_CHARACTERS: usize = 86 + 1;
/// Streams of one connection, as our servers have it.
const STREAMS: u32 = 1024;
/// How often a connection is asked whether it still is one, as our servers do.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The peer as a process of its own; killed when dropped.
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Peer {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not say where it listens.
    pub(crate) fn start(certificates: &Path, lengths: &[usize]) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .arg(certificates)
            .args(lengths.iter().map(usize::to_string))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the peer")?;
        let mut address = String::new();
        let said = child.stdout.take().context("it is piped")?;
        BufReader::new(said).read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Self { child, address })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves until it is killed.
///
/// # Errors
/// When no port is free or the certificates cannot be used.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [certificates, agent, daemon, ticket] = arguments else {
        anyhow::bail!("a folder and three lengths");
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let lengths = [agent.parse()?, daemon.parse()?, ticket.parse()?];
    let service = TokenServiceServer::new(Echo::new(lengths)?);
    let (sender, accepted) = mpsc::channel(1);
    let accepting = tls::accept(listener, Path::new(certificates), "token", sender);
    // What HTTP/2 costs to keep alive and within bounds is no part of what is compared.
    let serving = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(service)
        .serve_with_incoming(ReceiverStream::new(accepted));
    tokio::select! {
        ended = accepting => ended,
        served = serving => Ok(served?),
    }
}

/// Signs texts of the right lengths, and answers them.
struct Echo(Arc<Signing>);

struct Signing {
    key: Ed25519KeyPair,
    texts: [String; 3],
}

impl Echo {
    fn new(lengths: [usize; 3]) -> anyhow::Result<Self> {
        let key = Ed25519KeyPair::generate().context("make a key")?;
        // What is signed has a dot behind its header.
        let texts = lengths.map(|length| {
            let rest = length.saturating_sub(SIGNATURE_CHARACTERS + "header.".len());
            format!("header.{}", "x".repeat(rest))
        });
        Ok(Self(Arc::new(Signing { key, texts })))
    }
}

#[tonic::async_trait]
impl TokenService for Echo {
    async fn mint_session(
        &self,
        request: Request<pb::MintSessionRequest>,
    ) -> Result<Response<pb::MintSessionResponse>, Status> {
        let Signing { key, texts } = &*self.0;
        let [agent_token, daemon_token, ticket] = texts.each_ref().map(|text| {
            let signature = key.sign(text.as_bytes());
            let mut signed = format!("{text}.");
            URL_SAFE_NO_PAD.encode_string(signature, &mut signed);
            signed
        });
        Ok(Response::new(pb::MintSessionResponse {
            tokens: Some(pb::TokenPair {
                agent_token,
                daemon_token,
                expires_at: request.into_inner().session_start,
            }),
            ticket,
        }))
    }

    async fn renew_session(
        &self,
        _request: Request<pb::RenewSessionRequest>,
    ) -> Result<Response<pb::RenewSessionResponse>, Status> {
        Err(Status::unimplemented("the peer mints"))
    }

    async fn validate_token(
        &self,
        _request: Request<pb::ValidateTokenRequest>,
    ) -> Result<Response<pb::ValidateTokenResponse>, Status> {
        Err(Status::unimplemented("the peer mints"))
    }

    async fn get_jwks(
        &self,
        _request: Request<pb::GetJwksRequest>,
    ) -> Result<Response<pb::GetJwksResponse>, Status> {
        Err(Status::unimplemented("the peer mints"))
    }
}
