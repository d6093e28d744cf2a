//! The upstream of every row: this binary again, as a server of hyper's that answers what it has ready.
//!
//! Over HTTP/2 it is a gRPC method that answers one small message; over HTTP/1.1 it answers a few bytes, or a
//! mebibyte below `/mib`. It does as little as can be, so that a processor has time left for what is measured.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The argument that makes this binary the backend.
pub(crate) const ROLE: &str = "--as-backend";
/// The answer to a gRPC call: `ScoreResponse { score: 415 }` behind its five bytes of frame.
pub(crate) const MESSAGE: [u8; 8] = [0, 0, 0, 0, 3, 0x08, 0x9f, 0x03];
/// The answer to an HTTP request.
pub(crate) const TEXT: &[u8] = b"a definition of a word";
/// What a long answer is made of, and how many of them make a mebibyte.
pub(crate) const PIECE: usize = 16 * 1024;
const PIECES: usize = 64;

/// The backend as a process of its own; killed when dropped.
pub(crate) struct Backend {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Backend {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not say where it listens.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the backend")?;
        let mut address = String::new();
        let said = child.stdout.take().context("it is piped")?;
        BufReader::new(said).read_line(&mut address)?;
        let address = address.trim().parse().context("read its address")?;
        Ok(Self { child, address })
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves until it is killed.
///
/// # Errors
/// When no port is free.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_ended) = connections.join_next() => continue,
        };
        stream.set_nodelay(true)?;
        connections.spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().max_concurrent_streams(4_096);
            // A connection that ends ends its requests; the generator notices.
            drop(
                builder
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await,
            );
        });
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let is_grpc = request.headers().contains_key("te");
    let is_long = request.uri().path().ends_with("/mib");
    // Whatever was sent is taken, as a real upstream would.
    request.into_body().collect().await?;
    let mut response = Response::new(match (is_grpc, is_long) {
        (true, false) => framed([Bytes::from_static(&MESSAGE)], Some(trailers())),
        (true, true) => framed(pieces(5), Some(trailers())),
        (false, true) => framed(pieces(0), None),
        (false, false) => Full::new(Bytes::from_static(TEXT)).boxed(),
    });
    let kind = if is_grpc {
        "application/grpc"
    } else {
        "text/plain"
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Pieces of a mebibyte; each is a gRPC message where there is room for its frame.
fn pieces(frame: usize) -> Vec<Bytes> {
    static ZEROS: [u8; PIECE] = [0; PIECE];
    let mut piece = ZEROS;
    if frame > 0 {
        // Four bytes of length, in network order, behind the flag of compression.
        let length = u32::try_from(PIECE - frame).unwrap_or(0).to_be_bytes();
        piece[1..5].copy_from_slice(&length);
    }
    vec![Bytes::copy_from_slice(&piece); PIECES]
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(
        hyper::header::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )])
}

fn framed(pieces: impl IntoIterator<Item = Bytes>, trailers: Option<HeaderMap>) -> Body {
    let frames: Vec<Result<Frame<Bytes>, Infallible>> = pieces
        .into_iter()
        .map(Frame::data)
        .chain(trailers.map(Frame::trailers))
        .map(Ok)
        .collect();
    StreamBody::new(tokio_stream::iter(frames)).boxed()
}
