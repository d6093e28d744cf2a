//! A process with a terminal.

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::process_event::Event;

use super::harness::{Sandbox, finish, next, reason};

#[tokio::test]
async fn a_terminal_has_a_size_that_can_be_changed_and_is_one() {
    let sandbox = Sandbox::attached().await;
    let request = pb::RunProcessRequest {
        pty: Some(pb::PtySize {
            rows: 33,
            columns: 101,
        }),
        keep_stdin_open: true,
        ..sandbox.shell("test -t 0 && stty size; read x; stty size")
    };
    let mut stream = sandbox
        .processes()
        .run_process(request)
        .await
        .expect("runs")
        .into_inner();
    let Event::Started(started) = next(&mut stream).await else {
        panic!("started comes first")
    };
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        if let Event::Stdout(output) = next(&mut stream).await {
            said.extend(output.data);
        }
    }
    assert_eq!(said, b"33 101\r\n");
    let size = Some(pb::PtySize {
        rows: 5,
        columns: 6,
    });
    sandbox
        .processes()
        .resize_pty(pb::ResizePtyRequest {
            process_id: started.process_id.clone(),
            size,
        })
        .await
        .expect("resized");
    let write = pb::WriteStdinRequest {
        process_id: started.process_id,
        data: b"\n".to_vec(),
        close: false,
    };
    sandbox
        .processes()
        .write_stdin(write)
        .await
        .expect("written");
    let finished = finish(stream).await;
    assert!(
        finished.text().ends_with("5 6\r\n"),
        "{:?}",
        finished.text()
    );
    let plain = sandbox.run(sandbox.shell("true")).await.expect("runs");
    let resize = pb::ResizePtyRequest {
        process_id: plain.id,
        size,
    };
    assert_eq!(
        reason(
            &sandbox
                .processes()
                .resize_pty(resize)
                .await
                .expect_err("no terminal")
        ),
        "NO_TERMINAL"
    );
}
