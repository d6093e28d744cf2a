//! How trust begins, and what stops a start.

mod harness;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::{Collector, Home, LIMIT, Token, mint_request, refused};
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_rpc::{Channel, ChannelOptions, Listen, Service, ServiceTls, Shutdown, Target};
use sandgate_session::Audience;
use sandgate_token::{InitError, Initialized, Ports, ServeError, gen_secret, init, serve};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

#[tokio::test]
async fn init_creates_trust_once_and_overwrites_nothing() {
    let home = Home::new();
    let config = home.init_config();
    assert_eq!(
        init(&config, home.clock.shared()).await.expect("the first"),
        Initialized::Begun
    );
    let read = |name: &str| std::fs::read_to_string(home.path(name)).expect("a file");
    let (master, key) = (read("config/master-key"), read("api-key"));
    for name in ["config/master-key", "api-key"] {
        let mode = home
            .path(name)
            .metadata()
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        init(&config, home.clock.shared())
            .await
            .expect("the second"),
        Initialized::Unchanged
    );
    assert_eq!((read("config/master-key"), read("api-key")), (master, key));
}

/// What init has made is served, the API key that it left in its file included.
async fn assert_takes_the_key_in_its_file(home: Home) {
    let settings = home.config();
    let token = Token::spawn(home, settings);
    token.ready().await;
    let text = std::fs::read_to_string(token.home.path("api-key")).expect("the file");
    let request = pb::AuthenticateApiKeyRequest {
        secret: text.trim().to_owned(),
    };
    assert!(token.api_keys().authenticate_api_key(request).await.is_ok());
}

#[tokio::test]
async fn two_inits_at_once_create_one_trust() {
    let home = Home::new();
    let config = home.init_config();
    let (one, two) = tokio::join!(
        init(&config, home.clock.shared()),
        init(&config, home.clock.shared())
    );
    let (one, two) = (one.expect("one"), two.expect("two"));
    assert!(one == Initialized::Begun || two == Initialized::Begun);
    assert_takes_the_key_in_its_file(home).await;
}

#[tokio::test]
async fn an_api_key_that_a_crash_left_in_its_file_becomes_the_first_key() {
    let home = Home::initialized().await;
    // As after a crash between the file and the database: the file and the master key are there, the rows not.
    for name in ["token.db", "token.db-wal", "token.db-shm"] {
        drop(std::fs::remove_file(home.path(name)));
    }
    assert_eq!(
        init(&home.init_config(), home.clock.shared())
            .await
            .expect("again"),
        Initialized::Begun
    );
    assert_takes_the_key_in_its_file(home).await;
}

#[tokio::test]
async fn a_missing_key_beside_a_database_stops_init_and_start_and_is_not_replaced() {
    let home = Home::initialized().await;
    std::fs::remove_file(home.path("config/master-key")).expect("remove");
    let refused = init(&home.init_config(), home.clock.shared())
        .await
        .expect_err("refused");
    assert!(matches!(refused, InitError::KeyMissing(_)), "{refused}");
    assert!(!home.path("config/master-key").exists());
    let settings = home.config();
    let mut token = Token::spawn(home, settings);
    assert!(matches!(token.ended().await, Err(ServeError::MasterKey(_))));
}

#[tokio::test]
async fn another_or_a_weak_key_stops_init_and_start() {
    let home = Home::initialized().await;
    let file = home.path("config/master-key");
    std::fs::write(&file, gen_secret().expect("randomness")).expect("write");
    let refused = init(&home.init_config(), home.clock.shared())
        .await
        .expect_err("refused");
    assert!(matches!(refused, InitError::Keys(_)), "{refused}");
    let settings = home.config();
    let mut token = Token::spawn(home, settings);
    assert!(matches!(token.ended().await, Err(ServeError::Load(_))));
    let Token { home, .. } = token;
    std::fs::write(&file, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").expect("write");
    assert!(matches!(
        init(&home.init_config(), home.clock.shared()).await,
        Err(InitError::File(_))
    ));
    std::fs::write(&file, gen_secret().expect("randomness")).expect("write");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let settings = home.config();
    let mut token = Token::spawn(home, settings);
    assert!(matches!(token.ended().await, Err(ServeError::MasterKey(_))));
}

#[tokio::test]
async fn a_service_without_its_database_stays_up_says_so_and_serves_once_it_is_there() {
    let home = Home::new();
    std::fs::create_dir(home.path("config")).expect("a folder");
    let key = home.path("config/master-key");
    std::fs::write(&key, gen_secret().expect("randomness")).expect("write");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let settings = home.config();
    let token = Token::spawn(home, settings);
    let not_serving = token.health_reaches(ServingStatus::NotServing);
    tokio::time::timeout(LIMIT, not_serving)
        .await
        .expect("an answer");
    let refusal = refused(token.mint(mint_request(&token.home.clock)).await);
    assert_eq!(refusal, (Code::Unavailable, "NOT_READY".to_owned()));
    init(&token.home.init_config(), token.home.clock.shared())
        .await
        .expect("init");
    token.ready().await;
    assert!(token.mint(mint_request(&token.home.clock)).await.is_ok());
}

#[tokio::test]
async fn keys_outlive_the_process_and_so_do_tokens() {
    let mut token = Token::start().await;
    let pair = token.minted(mint_request(&token.home.clock)).await;
    token.end();
    token.ended().await.expect("a clean end");
    let settings = token.home.config();
    let again = Token::spawn(token.home, settings);
    again.ready().await;
    again.claims(&pair.agent_token, Audience::Agent).await;
}

#[tokio::test]
async fn the_certificates_of_init_join_the_services_by_mutual_tls() {
    let home = Home::new();
    let mut config = home.init_config();
    config.certificates = Some(home.path("certificates"));
    init(&config, home.clock.shared()).await.expect("init");
    let file = |name: &str| home.path("certificates").join(name);
    for name in [
        "token.key",
        "orchestrator.key",
        "auth-gateway.key",
        "storage-sync.key",
    ] {
        let mode = file(name).metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let before = std::fs::read(file("token.pem")).expect("a certificate");
    init(&config, home.clock.shared()).await.expect("again");
    assert_eq!(
        std::fs::read(file("token.pem")).expect("a certificate"),
        before
    );
    let tls = ServiceTls::load(
        &file("token.pem"),
        &file("token.key"),
        &file("ca.pem"),
        &Shutdown::new(),
    );
    tls.expect("they fit");
}

#[tokio::test]
async fn a_certificate_names_its_service_and_no_other() {
    // Certificates are checked against the machine's time.
    let home = Home::new();
    let mut config = home.init_config();
    config.certificates = Some(home.path("certificates"));
    init(&config, Arc::new(sandgate_types::SystemClock))
        .await
        .expect("init");
    let file = |name: &str| home.path("certificates").join(name);
    let shutdown = Shutdown::new();
    let tls = |service: &str| {
        let (certificate, key) = (format!("{service}.pem"), format!("{service}.key"));
        ServiceTls::load(&file(&certificate), &file(&key), &file("ca.pem"), &shutdown)
            .expect("they fit")
    };
    let address = "127.0.0.1:0".parse().expect("an address");
    let listen = Listen::tcp(address, Some(tls("token").server()));
    let listen = listen.await.expect("a port");
    let authority = listen.local_addr().expect("an address").to_string();
    let serving = serve(
        home.config(),
        Ports {
            mesh: vec![listen],
            orchestrator: Collector::start(&shutdown).target(),
        },
        Arc::new(sandgate_types::SystemClock),
        shutdown.clone(),
    );
    shutdown.spawn("token", async move { serving.await.expect("it serves") });
    let client = |service: &str, expected: Service| {
        let target = Target::tcp(&authority, Some(tls(service).client(expected)));
        TokenServiceClient::new(Channel::new(target, ChannelOptions::default()))
    };
    let keys = client("storage-sync", Service::Token)
        .get_jwks(pb::GetJwksRequest {})
        .await;
    assert_eq!(keys.expect("allowed").into_inner().keys.len(), 1);
    let minted = client("storage-sync", Service::Token)
        .mint_session(mint_request(&home.clock))
        .await;
    assert_eq!(
        minted.expect_err("not the orchestrator").code(),
        Code::PermissionDenied
    );
    let other = client("orchestrator", Service::StorageSync)
        .mint_session(mint_request(&home.clock))
        .await;
    assert_eq!(
        other.expect_err("not storage-sync").code(),
        Code::Unavailable
    );
    shutdown.begin();
    assert!(shutdown.join(LIMIT).await);
}

#[tokio::test]
async fn a_master_key_that_is_another_secret_of_ours_stops_init_and_start() {
    let home = Home::initialized().await;
    let master = std::fs::read_to_string(home.path("config/master-key")).expect("the key");

    // A private key, as TLS has one, that holds the master key's bytes.
    let secret = URL_SAFE_NO_PAD.decode(master.trim()).expect("base64url");
    let body = STANDARD.encode([&[0x30, 0x2e][..], &secret].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    std::fs::write(home.path("token.key"), pem).expect("write");
    let mut settings = home.config();
    settings.other_secrets = vec![home.path("token.key")];
    let mut token = Token::spawn(home, settings.clone());
    let refused = token.ended().await.expect_err("refused").to_string();
    assert!(
        refused.contains("must be no other secret of ours"),
        "{refused}"
    );
    assert!(!refused.contains(master.trim()));

    // The control: another private key is no reason.
    let home = token.home;
    let body = STANDARD.encode([7; 48]);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    std::fs::write(home.path("token.key"), pem).expect("write");
    let mut token = Token::spawn(home, settings);
    token.ready().await;
    token.end();
    token.ended().await.expect("a clean end");

    // The first API key, whole and by its secret part.
    let home = token.home;
    let key = std::fs::read_to_string(home.path("api-key")).expect("the key");
    let part = key.trim().get("sgk_".len() + 27..).expect("a secret part");
    for text in [key.trim(), part] {
        std::fs::write(home.path("config/master-key"), text).expect("write");
        let refused = home.init().await.expect_err("refused");
        assert!(matches!(refused, InitError::File(_)), "{refused}");
    }
}
