//! Mistakes, each with an answer that says what to mend.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use sandgate_api::sandbox::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::harness::{Sandbox, field, reason};

/// What is wrong with the field that a status names.
fn violation(status: &Status) -> String {
    let bad = status.get_details_bad_request().expect("BadRequest");
    bad.field_violations[0].description.clone()
}

#[tokio::test]
async fn a_command_that_cannot_be_started_names_the_field() {
    let sandbox = Sandbox::attached().await;
    std::fs::write(sandbox.at("plain"), "x").expect("a file");
    std::fs::write(sandbox.at("no-format"), "#!/no/such/interpreter\n").expect("a file");
    std::fs::set_permissions(sandbox.at("no-format"), Permissions::from_mode(0o755))
        .expect("a mode");
    std::fs::create_dir(sandbox.at("folder")).expect("a folder");
    for (program, what, rule) in [
        (
            "no-such-program",
            "missing",
            "that exists, which 'no-such-program' does",
        ),
        ("./folder", "directory", "not a directory, as './folder' is"),
        (
            "./plain",
            "not_executable",
            "that can be executed, which './plain' can",
        ),
        ("two\nlines", "missing", "which 'two\\nlines' does"),
    ] {
        let refused = sandbox.run(sandbox.command(&[program])).await;
        let refused = refused.expect_err("refused");
        let said = violation(&refused);
        assert!(said.contains(rule), "{said}");
        let info = refused.get_details_error_info().expect("ErrorInfo");
        assert_eq!(info.metadata.get("program").map(String::as_str), Some(what));
    }
    for argv in [
        &["no-such-program-anywhere"][..],
        &["./folder"],
        &["./plain"],
        &["./missing"],
        &["./no-format"],
        &[""],
        &[],
    ] {
        let refused = sandbox
            .run(sandbox.command(argv))
            .await
            .expect_err("refused");
        assert_eq!(field(&refused), "argv", "{argv:?}");
    }
    for cwd in ["/no/such/folder", "/dev/null", "relative"] {
        let request = pb::RunProcessRequest {
            cwd: cwd.to_owned(),
            ..sandbox.command(&["true"])
        };
        let refused = sandbox.run(request).await.expect_err("refused");
        assert_eq!(field(&refused), "cwd", "{cwd}");
        if cwd.starts_with('/') {
            assert!(violation(&refused).contains(cwd), "{refused:?}");
        }
    }
    let listed = sandbox
        .processes()
        .list_processes(pb::ListProcessesRequest::default())
        .await
        .expect("a list");
    assert!(
        listed.into_inner().processes.is_empty(),
        "nothing of this ran"
    );
}

#[tokio::test]
async fn a_process_that_nobody_started_does_not_exist() {
    let sandbox = Sandbox::attached().await;
    for id in ["", "l0000000000000000000000000", "1"] {
        let attach = pb::AttachProcessRequest {
            process_id: id.to_owned(),
            offset: 0,
        };
        let refused = sandbox
            .processes()
            .attach_process(attach)
            .await
            .expect_err("unknown");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::NotFound, "PROCESS_UNKNOWN")
        );
    }
}

#[tokio::test]
async fn signals_pages_and_sizes_outside_of_their_range_are_refused_by_field() {
    let sandbox = Sandbox::attached().await;
    let id = sandbox.run(sandbox.shell("true")).await.expect("runs").id;
    for signal in [0, -1, 32, i32::MAX] {
        let request = pb::SignalProcessRequest {
            process_id: id.clone(),
            signal,
            group: false,
        };
        assert_eq!(
            field(
                &sandbox
                    .processes()
                    .signal_process(request)
                    .await
                    .expect_err("refused")
            ),
            "signal"
        );
    }
    let negative = pb::ListProcessesRequest {
        page_size: -1,
        page_token: String::new(),
    };
    assert_eq!(
        field(
            &sandbox
                .processes()
                .list_processes(negative)
                .await
                .expect_err("refused")
        ),
        "page_size"
    );
    let nonsense = pb::ListProcessesRequest {
        page_size: 0,
        page_token: "nonsense".to_owned(),
    };
    assert_eq!(
        field(
            &sandbox
                .processes()
                .list_processes(nonsense)
                .await
                .expect_err("refused")
        ),
        "page_token"
    );
    let resize = pb::ResizePtyRequest {
        process_id: id,
        size: None,
    };
    assert_eq!(
        field(
            &sandbox
                .processes()
                .resize_pty(resize)
                .await
                .expect_err("refused")
        ),
        "size"
    );
}

#[tokio::test]
async fn a_write_without_header_or_with_a_wrong_mode_changes_nothing() {
    let sandbox = Sandbox::attached().await;
    let data = pb::WriteFileRequest {
        part: Some(pb::write_file_request::Part::Data(b"x".to_vec())),
    };
    let refused = sandbox
        .files()
        .write_file(tokio_stream::iter([data.clone()]))
        .await
        .expect_err("refused");
    assert_eq!(field(&refused), "header");
    let header = pb::WriteFileHeader {
        path: b"a".to_vec(),
        mode: 0o4755,
        make_parents: false,
    };
    let header = pb::WriteFileRequest {
        part: Some(pb::write_file_request::Part::Header(header)),
    };
    let refused = sandbox
        .files()
        .write_file(tokio_stream::iter([header, data]))
        .await
        .expect_err("refused");
    assert_eq!(field(&refused), "header.mode");
    assert_eq!(
        std::fs::read_dir(sandbox.workspace())
            .expect("a folder")
            .count(),
        0
    );
}
