//! Who may talk to whom over TLS: certificates of the service root, and the service that each names.

mod wire;

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use sandgate_api::orchestrator::v1::ReportActivityRequest;
use sandgate_rpc::{ClientTls, Listen, ServerTls, Service, Shutdown, Target};
use tempfile::TempDir;
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
        paths
    }

    fn service(&self, name: &str) -> (PathBuf, PathBuf) {
        self.sign(name, &[&format!("spiffe://sandgate/service/{name}")])
    }
}

/// The orchestrator, behind TLS; it lets the gate report.
async fn serve(server: &Root, client_roots: &Path, shutdown: &Shutdown) -> String {
    let (certificate, key) = server.service("orchestrator");
    let tls = ServerTls::load(&certificate, &key, client_roots).expect("certificates");
    let any = "127.0.0.1:0".parse().expect("an address");
    let listen = Listen::tcp(any, Some(tls)).await.expect("a port");
    let address = listen.local_addr().expect("its address").to_string();
    Handler::reporting(|| async { Ok(()) }).serve(listen, shutdown);
    address
}

async fn report(
    address: &str,
    own: &(PathBuf, PathBuf),
    roots: &Path,
    expected: Service,
) -> Result<(), Status> {
    let tls = ClientTls::load(&own.0, &own.1, roots, expected).expect("certificates");
    client(Target::tcp(address, Some(tls)), false)
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
