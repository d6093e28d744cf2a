//! The bar of minting: the processor time of one MintSession of the real token service, against a peer in the
//! same run that does the least that must be done: take a request of the same bytes, make as many raw Ed25519
//! signatures of the same length, and answer as many bytes.
//!
//! Both are processes of their own behind the same mutual TLS, asked over one connection each, by equally many
//! callers at once, in turns. The peer is a server of tonic's with none of our layers. What counts is the time
//! that the threads of the server were on a processor: the client, which costs the same either way, is left out,
//! and so is whatever else runs on the machine.

#[path = "token_mint/peer.rs"]
mod peer;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_e2e::bar::{Bar, processor_time};
use sandgate_e2e::mesh::Home;
use sandgate_e2e::minting::opening;
use sandgate_e2e::processes::Plan;
use sandgate_e2e::tls;
use tonic::transport::Channel;

/// What the sessions may call.
const OPERATIONS: [&str; 4] = ["search", "mail-read", "mail-send", "files"];
/// Calls of a turn; a turn takes a fraction of a second.
const CALLS: usize = 2_000;
/// Turns of each; odd, so that one is in the middle.
const TURNS: usize = 9;
/// What a run in CI does.
const SMALL: (usize, usize) = (50, 1);
/// Callers at once.
const CALLERS: usize = 16;
/// Each so many answers, the signatures are checked too.
const VERIFIED: usize = 64;
/// The service is up in a fraction of it.
const START_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if let Some(at) = arguments.iter().position(|argument| argument == peer::ROLE) {
        return runtime.block_on(peer::serve(arguments.get(at + 1..).unwrap_or_default()));
    }
    let small = arguments.iter().any(|argument| argument == "--small");
    let (calls, turns) = if small { SMALL } else { (CALLS, TURNS) };
    runtime.block_on(compare(calls, turns))
}

async fn compare(calls: usize, turns: usize) -> anyhow::Result<()> {
    let home = Home::new();
    let plan = Plan::new(&home);
    let certificates = home.path().join("certificates");
    let token = plan.token();
    let ours = Minted::connect(token.pid(), &plan.token, &certificates).await?;
    let sample = ours
        .client
        .clone()
        .mint_session(opening(0, OPERATIONS))
        .await?;
    let lengths: Vec<usize> = texts(sample.get_ref()).map(str::len).collect();
    let bare = peer::Peer::start(&certificates, &lengths)?;
    let theirs = Minted::connect(bare.pid(), &bare.address, &certificates).await?;
    let keys = ours.keys().await?;

    // Whatever is done once is done before anything counts.
    ours.turn(calls.min(200), Some(&keys)).await?;
    theirs.turn(calls.min(200), None).await?;
    let mut ours_per_call = Vec::with_capacity(turns);
    let mut theirs_per_call = Vec::with_capacity(turns);
    for _ in 0..turns {
        ours_per_call.push(ours.turn(calls, Some(&keys)).await?);
        theirs_per_call.push(theirs.turn(calls, None).await?);
    }
    Bar {
        name: "token mint over gRPC",
        want: 0.8,
        peer: "echo over the same TLS + three raw Ed25519 signatures, calls per CPU-second",
        runs: calls * turns,
    }
    .print_rates(
        rate(&mut ours_per_call),
        rate(&mut theirs_per_call),
        "calls/CPU-s",
    )
}

/// Calls in a second of processor time, by the turn in the middle.
fn rate(per_call: &mut [Duration]) -> f64 {
    per_call.sort_unstable();
    per_call
        .get(per_call.len() / 2)
        .map_or(0.0, |middle| 1.0 / middle.as_secs_f64())
}

/// A server that mints, or does what that costs at least.
struct Minted {
    pid: u32,
    client: TokenServiceClient<Channel>,
}

impl Minted {
    /// Connects once it serves: a server that is just starting refuses, and is asked again until the limit.
    async fn connect(pid: u32, address: &str, certificates: &Path) -> anyhow::Result<Self> {
        let mut looks = START_LIMIT.as_millis() / LOOK_EVERY.as_millis();
        loop {
            looks -= 1;
            match Self::try_connect(pid, address, certificates).await {
                Ok(minted) => return Ok(minted),
                Err(error) if looks == 0 => {
                    return Err(error.context(format!("{address} does not serve")));
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    async fn try_connect(pid: u32, address: &str, certificates: &Path) -> anyhow::Result<Self> {
        let mut client = TokenServiceClient::new(
            tls::channel(address, certificates, "orchestrator", "token").await?,
        );
        client.mint_session(opening(0, OPERATIONS)).await?;
        Ok(Self { pid, client })
    }

    async fn keys(&self) -> anyhow::Result<Vec<pb::JsonWebKey>> {
        let answer = self.client.clone().get_jwks(pb::GetJwksRequest {}).await?;
        Ok(answer.into_inner().keys)
    }

    /// Asks so often, and answers the server's processor time for each call. With keys, answers are sessions
    /// of their own, signed by one of them.
    async fn turn(
        &self,
        calls: usize,
        keys: Option<&[pb::JsonWebKey]>,
    ) -> anyhow::Result<Duration> {
        let before = processor_time(self.pid)?;
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let mut client = self.client.clone();
            let numbers = (caller..calls).step_by(CALLERS);
            callers.spawn(async move {
                let mut answers = Vec::with_capacity(numbers.len());
                for number in numbers {
                    answers.push(
                        client
                            .mint_session(opening(number, OPERATIONS))
                            .await?
                            .into_inner(),
                    );
                }
                Ok::<_, tonic::Status>(answers)
            });
        }
        let mut answers = Vec::with_capacity(calls);
        while let Some(answered) = callers.join_next().await {
            answers.extend(answered??);
        }
        let spent = processor_time(self.pid)?.saturating_sub(before);
        anyhow::ensure!(
            answers.len() == calls,
            "{} of {calls} answers",
            answers.len()
        );
        for (number, answer) in answers.iter().enumerate() {
            let keys = keys.filter(|_| number.is_multiple_of(VERIFIED));
            check(answer, keys)?;
        }
        if keys.is_some() {
            let texts: HashSet<&str> = answers.iter().flat_map(texts).collect();
            anyhow::ensure!(texts.len() == 3 * calls, "two sessions share a token");
        }
        Ok(spent / u32::try_from(calls)?)
    }
}

/// The three signed texts of an answer.
fn texts(answer: &pb::MintSessionResponse) -> impl Iterator<Item = &str> {
    let tokens = answer.tokens.iter();
    tokens
        .flat_map(|pair| [pair.agent_token.as_str(), pair.daemon_token.as_str()])
        .chain([answer.ticket.as_str()])
}

/// Three compact texts, signed by one of the keys where there are any.
fn check(answer: &pb::MintSessionResponse, keys: Option<&[pb::JsonWebKey]>) -> anyhow::Result<()> {
    anyhow::ensure!(texts(answer).count() == 3, "no tokens");
    for text in texts(answer) {
        let (signed, signature) = text.rsplit_once('.').context("no signature")?;
        anyhow::ensure!(signed.contains('.'), "no header");
        let Some(keys) = keys else { continue };
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let is_signed = keys.iter().any(|key| {
            URL_SAFE_NO_PAD.decode(&key.x).is_ok_and(|x| {
                UnparsedPublicKey::new(&ED25519, x)
                    .verify(signed.as_bytes(), &signature)
                    .is_ok()
            })
        });
        anyhow::ensure!(is_signed, "nobody signed {signed}");
    }
    Ok(())
}
