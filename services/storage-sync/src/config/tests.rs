//! What settings become, and what is said of those that are missing.

use sandgate_rpc::config::{Period, Size};

use super::*;

fn args() -> Args {
    Args {
        listen: Some(([127, 0, 0, 1], 0).into()),
        database_url: Some("sqlite:/data/storage.db".to_owned()),
        objects: Some("file:///data/objects".to_owned()),
        audit_dir: Some("/data/audit".into()),
        orchestrator: Some("orchestrator:7402".to_owned()),
        tls_certificate: Some("/tls/storage.pem".into()),
        tls_key: Some("/tls/storage.key".into()),
        tls_roots: Some("/tls/ca.pem".into()),
        ..Args::default()
    }
}

fn fields(args: Args) -> Vec<String> {
    let violations = <(Config, Endpoint)>::try_from(args).expect_err("refused");
    violations
        .iter()
        .map(|violation| violation.to_string())
        .collect()
}

#[test]
fn complete_settings_are_a_configuration() {
    let (config, endpoint) = args().try_into().expect("complete");
    assert_eq!(config.objects, Path::new("/data/objects"));
    assert_eq!(endpoint.key, Path::new("/tls/storage.key"));
}

#[test]
fn everything_that_is_missing_or_out_of_bounds_is_told_at_once() {
    let args = Args {
        drain_delay: Some(Period(Duration::from_secs(61))),
        grace: Some(Period(Duration::from_secs(301))),
        upload_max: Some(Size(ByteSize::gib(0))),
        ..Args::default()
    };
    let refused = <(Config, Endpoint)>::try_from(args).expect_err("refused");
    let fields: Vec<&str> = refused.iter().map(Malformed::field).collect();
    let expected = [
        "database_url",
        "objects",
        "audit_dir",
        "orchestrator",
        "listen",
        "tls_certificate",
        "tls_key",
        "tls_roots",
        "upload_max",
        "drain_delay",
        "grace",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_store_that_is_not_built_is_refused_by_name() {
    let with = |objects: &str| {
        fields(Args {
            objects: Some(objects.to_owned()),
            ..args()
        })
        .join("\n")
    };
    assert!(with("s3://bucket/x").contains("s3:// is not built yet"));
    assert!(with("gs://bucket").contains("gs:// is not built yet"));
    assert!(with("ftp://host").contains("must be a directory"));
    assert!(with("data/objects").contains("absolute"));
}
