//! Who may talk to whom over TLS: certificates of the service root, and the service that each names.

mod wire;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use sandgate_api::orchestrator::v1::{
    ReportActivityRequest, WatchEndpointsRequest, WatchEndpointsResponse,
};
use sandgate_rpc::{Listen, Service, ServiceTls, Shutdown, Target};
use tempfile::TempDir;
use tokio_stream::Stream as _;
use tonic::{Code, Status};
use wire::{Handler, client};

/// A root, and files of certificates that it signed.
struct Root {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).expect("a root");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("written");
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for the DNS name `host` that names `uris`; the paths of certificate and key.
    fn sign(&self, host: &str, uris: &[&str]) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(host.try_into().expect("a name"))];
        for uri in uris {
            let uri = SanType::URI((*uri).try_into().expect("a URI"));
            params.subject_alt_names.push(uri);
        }
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let paths = (
            self.folder
                .path()
                .join(format!("{host}-{}.pem", uris.len())),
            self.folder
                .path()
                .join(format!("{host}-{}.key", uris.len())),
        );
        std::fs::write(&paths.0, certificate.pem()).expect("written");
        std::fs::write(&paths.1, key.serialize_pem()).expect("written");
        set_mode(&paths.1, 0o600);
        paths
    }

    fn service(&self, name: &str) -> (PathBuf, PathBuf) {
        self.sign(name, &[&format!("spiffe://sandgate/service/{name}")])
    }
}

/// The orchestrator, behind TLS; it lets the gate report.
async fn serve(server: &Root, client_roots: &Path, shutdown: &Shutdown) -> String {
    let own = server.service("orchestrator");
    serve_by(&load(&own, client_roots), shutdown).await
}

async fn serve_by(tls: &ServiceTls, shutdown: &Shutdown) -> String {
    let any = "127.0.0.1:0".parse().expect("an address");
    let listen = Listen::tcp(any, Some(tls.server())).await.expect("a port");
    let address = listen.local_addr().expect("its address").to_string();
    Handler::reporting(|| async { Ok(()) }).serve(listen, shutdown);
    address
}

fn load((certificate, key): &(PathBuf, PathBuf), roots: &Path) -> ServiceTls {
    ServiceTls::load(certificate, key, roots, &Shutdown::new()).expect("certificates")
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
}

async fn report(
    address: &str,
    own: &(PathBuf, PathBuf),
    roots: &Path,
    expected: Service,
) -> Result<(), Status> {
    report_by(address, &load(own, roots), expected).await
}

/// Reports over a connection of its own.
async fn report_by(address: &str, tls: &ServiceTls, expected: Service) -> Result<(), Status> {
    client(Target::tcp(address, Some(tls.client(expected))), false)
        .report_activity(ReportActivityRequest::default())
        .await
        .map(|_| ())
}

#[tokio::test]
async fn a_service_is_whom_its_certificate_names() {
    let (root, shutdown) = (Root::new(), Shutdown::new());
    let address = serve(&root, &root.roots(), &shutdown).await;
    let (gate, token) = (root.service("auth-gateway"), root.service("token"));
    let roots = root.roots();
    let allowed = report(&address, &gate, &roots, Service::Orchestrator).await;
    allowed.expect("the gate may");
    let refused = report(&address, &token, &roots, Service::Orchestrator).await;
    assert_eq!(
        refused.expect_err("not the gate").code(),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn a_certificate_that_names_no_service_or_two_allows_nothing() {
    let (root, shutdown) = (Root::new(), Shutdown::new());
    let address = serve(&root, &root.roots(), &shutdown).await;
    let two = [
        "spiffe://sandgate/service/auth-gateway",
        "spiffe://sandgate/service/token",
    ];
    for uris in [&[][..], &two[..]] {
        let own = root.sign("auth-gateway", uris);
        let status = report(&address, &own, &root.roots(), Service::Orchestrator)
            .await
            .expect_err("nobody");
        assert_eq!(status.code(), Code::PermissionDenied, "{uris:?}");
    }
}

#[tokio::test]
async fn a_client_of_another_root_reaches_nothing() {
    let (root, stranger, shutdown) = (Root::new(), Root::new(), Shutdown::new());
    let address = serve(&root, &root.roots(), &shutdown).await;
    let gate = stranger.service("auth-gateway");
    let status = report(&address, &gate, &root.roots(), Service::Orchestrator)
        .await
        .expect_err("not of our root");
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_client_leaves_a_server_that_is_not_the_one_it_means() {
    let (root, stranger, shutdown) = (Root::new(), Root::new(), Shutdown::new());
    let address = serve(&root, &root.roots(), &shutdown).await;
    let gate = root.service("auth-gateway");
    for (roots, expected) in [
        (root.roots(), Service::Token),
        (stranger.roots(), Service::Orchestrator),
    ] {
        let status = report(&address, &gate, &roots, expected).await;
        let status = status.expect_err("not whom it means");
        assert_eq!(status.code(), Code::Unavailable);
    }
}

/// What a service's settings name, in a folder in which it is replaced.
struct Files {
    folder: TempDir,
}

impl Files {
    fn of(root: &Root, name: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let files = Self { folder };
        files.renew(root, name);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, file: &Path) {
        let beside = self.path("new");
        std::fs::copy(file, &beside).expect("copied");
        std::fs::rename(&beside, self.path(name)).expect("renamed");
    }

    fn renew(&self, root: &Root, name: &str) {
        let (certificate, key) = root.service(name);
        self.put("tls.pem", &certificate);
        self.put("tls.key", &key);
        self.put("ca.pem", &root.roots());
    }

    fn load(&self) -> ServiceTls {
        load(
            &(self.path("tls.pem"), self.path("tls.key")),
            &self.path("ca.pem"),
        )
    }
}

#[tokio::test]
async fn what_is_renewed_on_disk_holds_for_the_next_connection_of_both_ends() {
    let (old, new, shutdown) = (Root::new(), Root::new(), Shutdown::new());
    let (server, gate) = (
        Files::of(&old, "orchestrator"),
        Files::of(&old, "auth-gateway"),
    );
    let left_behind = Files::of(&old, "auth-gateway").load();
    let renewed = gate.load();
    let address = serve_by(&server.load(), &shutdown).await;
    for tls in [&renewed, &left_behind] {
        let reported = report_by(&address, tls, Service::Orchestrator).await;
        reported.expect("of the old authority, both ends");
    }

    server.renew(&new, "orchestrator");
    let refused = report_by(&address, &renewed, Service::Orchestrator).await;
    let refused = refused.expect_err("the client's files are the old ones");
    assert_eq!(refused.code(), Code::Unavailable);
    gate.renew(&new, "auth-gateway");
    let reported = report_by(&address, &renewed, Service::Orchestrator).await;
    reported.expect("of the new authority, both ends");
    let refused = report_by(&address, &left_behind, Service::Orchestrator).await;
    let refused = refused.expect_err("the old authority is nobody's any more");
    assert_eq!(refused.code(), Code::Unavailable);
}

/// A stream that is open and says nothing.
async fn open_stream(address: &str, tls: &ServiceTls) -> tonic::Streaming<WatchEndpointsResponse> {
    let target = Target::tcp(address, Some(tls.client(Service::Orchestrator)));
    let mut client = client(target, false);
    let watch = client.watch_endpoints(WatchEndpointsRequest {}).await;
    watch.expect("a stream").into_inner()
}

#[tokio::test]
async fn connections_end_at_either_end_when_what_allowed_them_is_taken_away_and_not_before() {
    for is_server in [true, false] {
        let (old, new, shutdown) = (Root::new(), Root::new(), Shutdown::new());
        let (server, gate) = (
            Files::of(&old, "orchestrator"),
            Files::of(&old, "auth-gateway"),
        );
        let address = serve_by(&server.load(), &shutdown).await;
        let own = gate.load();
        let mut stream = open_stream(&address, &own).await;
        let files = if is_server { &server } else { &gate };

        let both = files.path("both");
        let [first, second] = [old.roots(), new.roots()].map(std::fs::read_to_string);
        let text = first.expect("a root") + &second.expect("a root");
        std::fs::write(&both, text).expect("written");
        files.put("ca.pem", &both);
        // Another connection looks at the files, so from here on they are in force.
        let reported = report_by(&address, &own, Service::Orchestrator).await;
        reported.expect("both are roots");
        let silence = std::future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut stream).poll_next(context).is_pending())
        });
        assert!(silence.await, "nothing was taken away");

        files.put("ca.pem", &new.roots());
        let refused = report_by(&address, &own, Service::Orchestrator).await;
        assert!(refused.is_err(), "each end is of the old authority");
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.message()).await;
        let ended = ended.expect("it ends");
        ended.expect_err("the connection rested on the old authority");
    }
}

#[tokio::test]
async fn a_renewal_that_cannot_be_used_changes_nothing_until_it_is_mended() {
    let (old, new, shutdown) = (Root::new(), Root::new(), Shutdown::new());
    let files = Files::of(&old, "orchestrator");
    let address = serve_by(&files.load(), &shutdown).await;
    let before = load(&old.service("auth-gateway"), &old.roots());
    let after = load(&new.service("auth-gateway"), &new.roots());
    let still_the_old = async || {
        let reported = report_by(&address, &before, Service::Orchestrator).await;
        reported.expect("the last good files are in force");
        let refused = report_by(&address, &after, Service::Orchestrator).await;
        assert!(refused.is_err());
    };

    let (certificate, key) = new.service("orchestrator");
    files.put("ca.pem", &key);
    still_the_old().await;
    files.put("tls.pem", &certificate);
    still_the_old().await;
    files.put("ca.pem", &new.roots());
    still_the_old().await;
    set_mode(&key, 0o644);
    files.put("tls.key", &key);
    still_the_old().await;

    set_mode(&key, 0o600);
    files.put("tls.key", &key);
    let reported = report_by(&address, &after, Service::Orchestrator).await;
    reported.expect("the new ones, now that others cannot read the key");
    let refused = report_by(&address, &before, Service::Orchestrator).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused_by_its_setting_with_what_to_do() {
    let root = Root::new();
    let (certificate, key) = root.service("token");
    for mode in [0o604, 0o602, 0o644, 0o620] {
        set_mode(&key, mode);
        let refused =
            ServiceTls::load(&certificate, &key, &root.roots(), &Shutdown::new()).map(drop);
        let refused = refused.expect_err("refused");
        let (path, mode) = (key.display().to_string(), format!("mode {mode:04o}"));
        assert_eq!(refused.field(), "tls_key");
        for part in [path.as_str(), mode.as_str(), "chmod 600"] {
            assert!(refused.rule().contains(part), "{refused}");
        }
    }
}
