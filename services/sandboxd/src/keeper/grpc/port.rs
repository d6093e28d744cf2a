//! PortService: bytes to and from what listens on the sandbox's loopback.

use futures_util::stream;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::open_port_request::Part;
use sandgate_api::sandbox::v1::port_service_server::PortService;
use sandgate_types::Malformed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Streaming};

use super::{Answers, Reply, Services, answers};
use crate::keeper::error::{file_trouble, port_not_granted, status};

/// The published limit of a piece.
const PIECE_MAX_BYTES: usize = 64 * 1024;

#[tonic::async_trait]
impl PortService for Services {
    type OpenPortStream = Answers<pb::OpenPortResponse>;

    async fn open_port(
        &self,
        request: Request<Streaming<pb::OpenPortRequest>>,
    ) -> Reply<Self::OpenPortStream> {
        let mut pieces = request.into_inner();
        let Some(Part::Port(port)) = pieces.message().await?.and_then(|first| first.part) else {
            return Err(status(Malformed::new("port", "must come first")));
        };
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| status(Malformed::new("port", "must be 1 to 65535")))?;
        self.instance.usable().await.map_err(status)?;
        if !self.instance.grants_port(port) {
            return Err(status(port_not_granted()));
        }
        let (from_port, to_port) = self
            .instance
            .runner
            .dial(port)
            .await
            .map_err(status)?
            .into_split();
        // Whoever reads the answers keeps the connection; when they leave, both directions end.
        let reads = CancellationToken::new();
        let left = reads.clone();
        let ending = self.instance.tasks().clone();
        self.instance.tasks().spawn("port", async move {
            tokio::select! {
                () = forward(pieces, to_port, &left) => {}
                () = ending.cancelled() => {}
            }
        });
        let opened = Some(pb::OpenPortResponse { data: Vec::new() });
        let bytes = stream::unfold(
            (opened, Some(from_port), reads.drop_guard()),
            |(opened, from_port, guard)| async move {
                let mut from_port = from_port?;
                if let Some(opened) = opened {
                    return Some((Ok(opened), (None, Some(from_port), guard)));
                }
                let mut data = vec![0; PIECE_MAX_BYTES];
                match from_port.read(&mut data).await {
                    Ok(0) => None,
                    Ok(count) => {
                        data.truncate(count);
                        Some((
                            Ok(pb::OpenPortResponse { data }),
                            (None, Some(from_port), guard),
                        ))
                    }
                    // The other end was reset: as far as a client can tell, it hung up.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
                    Err(error) => Some((Err(status(file_trouble(error))), (None, None, guard))),
                }
            },
        );
        Ok(answers(bytes))
    }
}

/// Writes what the client sends until it ends its stream, which closes this direction alone. The half stays open
/// for as long as somebody reads the other.
async fn forward(
    mut pieces: Streaming<pb::OpenPortRequest>,
    mut to_port: OwnedWriteHalf,
    left: &CancellationToken,
) {
    let copy = async {
        // A client that fails, or sends what no piece may be, has ended its stream.
        while let Ok(Some(pb::OpenPortRequest {
            part: Some(Part::Data(data)),
        })) = pieces.message().await
        {
            if data.len() > PIECE_MAX_BYTES || to_port.write_all(&data).await.is_err() {
                break;
            }
        }
        // When the other end is gone there is nothing to close.
        let _gone = to_port.shutdown().await;
    };
    tokio::select! {
        () = copy => {}
        () = left.cancelled() => {}
    }
}
