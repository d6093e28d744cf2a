//! What a process does, and what is told of it.

use std::time::Duration;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::process_event::Event;
use tonic::Code;

use super::harness::{NEVER, Sandbox, finish, next, reason};

fn seconds(timeout: Duration) -> Option<prost_types::Duration> {
    Some(sandgate_api::duration_to(timeout))
}

#[tokio::test]
async fn a_process_has_its_streams_environment_folder_and_exit_code() {
    let sandbox = Sandbox::attached().await;
    let line =
        "cat; pwd; echo $FROM_SESSION $FROM_REQUEST $SANDGATE_URL_WEATHER; echo oops >&2; exit 7";
    let request = pb::RunProcessRequest {
        stdin: b"input\n".to_vec(),
        environment: [("FROM_REQUEST".to_owned(), "too".to_owned())].into(),
        ..sandbox.shell(line)
    };
    let finished = sandbox.run(request).await.expect("runs");
    let workspace = sandbox.workspace().canonicalize().expect("a path");
    let expected = format!(
        "input\n{}\nyes too http://127.0.0.1:4040/r/weather\n",
        workspace.display()
    );
    assert_eq!(finished.text(), expected);
    assert_eq!(finished.stderr, b"oops\n");
    assert_eq!(finished.exit_code(), Some(7));
}

#[tokio::test]
async fn a_process_inherits_nothing_of_the_daemon() {
    let sandbox = Sandbox::attached().await;
    let finished = sandbox
        .run(sandbox.shell("ls /proc/self/fd | wc -l; env | grep -c CARGO"))
        .await
        .expect("runs");
    // The three streams, and the one by which ls reads the folder.
    assert_eq!(finished.text(), "4\n0\n");
}

#[tokio::test]
async fn a_hundred_mebibytes_reach_an_attached_reader_whole() {
    let sandbox = Sandbox::attached().await;
    let finished = sandbox
        .run(sandbox.shell("head -c 104857600 /dev/zero"))
        .await
        .expect("runs");
    assert_eq!(finished.stdout.len(), 100 << 20);
    assert_eq!(finished.exit_code(), Some(0));
}

#[tokio::test]
async fn without_a_reader_the_oldest_output_goes_and_the_process_never_waits() {
    let sandbox = Sandbox::attached().await;
    let mut stream = sandbox
        .processes()
        .run_process(sandbox.shell("head -c 104857600 /dev/zero"))
        .await
        .expect("runs")
        .into_inner();
    let Event::Started(started) = next(&mut stream).await else {
        panic!("the first event says that it was started")
    };
    drop(stream);
    let ended = async {
        loop {
            let list = sandbox
                .processes()
                .list_processes(pb::ListProcessesRequest::default())
                .await
                .expect("a list");
            let process = list.into_inner().processes.remove(0);
            if process.ended.is_some() {
                return process;
            }
        }
    };
    let process = tokio::time::timeout(NEVER, ended).await.expect("it ends");
    assert_eq!(process.process_id, started.process_id);
    let attach = |offset| pb::AttachProcessRequest {
        process_id: started.process_id.clone(),
        offset,
    };
    let refused = sandbox
        .processes()
        .attach_process(attach(0))
        .await
        .expect_err("gone");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::OutOfRange, "OUTPUT_NOT_KEPT")
    );
    let first: u64 = {
        use tonic_types::StatusExt as _;
        refused
            .get_details_error_info()
            .expect("ErrorInfo")
            .metadata["first_offset"]
            .parse()
            .expect("a number")
    };
    let mut kept = sandbox
        .processes()
        .attach_process(attach(first))
        .await
        .expect("kept")
        .into_inner();
    let mut bytes = first;
    while let Some(message) = kept.message().await.expect("a message") {
        if let Some(Event::Stdout(output)) = message.event.and_then(|event| event.event) {
            assert_eq!(output.offset, bytes);
            bytes += output.data.len() as u64;
        }
    }
    assert_eq!(bytes, 100 << 20);
}

#[tokio::test]
async fn a_process_outlives_its_reader_and_is_found_again_from_an_offset() {
    let sandbox = Sandbox::attached().await;
    let request = pb::RunProcessRequest {
        keep_stdin_open: true,
        ..sandbox.shell("echo one; read x; echo got $x")
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
    assert!(
        matches!(next(&mut stream).await, Event::Stdout(output) if output.data == b"one\n"[..])
    );
    drop(stream);
    let write = pb::WriteStdinRequest {
        process_id: started.process_id.clone(),
        data: b"two\n".to_vec(),
        close: true,
    };
    sandbox
        .processes()
        .write_stdin(write.clone())
        .await
        .expect("written");
    let attach = pb::AttachProcessRequest {
        process_id: started.process_id.clone(),
        offset: 2,
    };
    let mut again = sandbox
        .processes()
        .attach_process(attach)
        .await
        .expect("found")
        .into_inner();
    let mut said = Vec::new();
    let mut end = None;
    while let Some(message) = again.message().await.expect("a message") {
        match message
            .event
            .and_then(|event| event.event)
            .expect("an event")
        {
            Event::Stdout(output) => said.extend(output.data),
            Event::Ended(ended) => end = Some(ended),
            Event::Started(_) | Event::Stderr(_) => panic!("neither happens again"),
        }
    }
    assert_eq!(said, b"e\ngot two\n");
    assert!(end.is_some());
    let late = sandbox
        .processes()
        .write_stdin(write)
        .await
        .expect_err("closed");
    assert_eq!(reason(&late), "STDIN_CLOSED");
    let signal = pb::SignalProcessRequest {
        process_id: started.process_id,
        signal: 15,
        group: false,
    };
    assert_eq!(
        reason(
            &sandbox
                .processes()
                .signal_process(signal)
                .await
                .expect_err("ended")
        ),
        "PROCESS_ENDED"
    );
}

#[tokio::test]
async fn a_process_whose_time_is_up_is_killed_with_its_group_though_it_ignores_sigterm() {
    let sandbox = Sandbox::attached().await;
    let line = "trap '' TERM INT; sleep 1000 & while :; do sleep 1; done";
    let request = pb::RunProcessRequest {
        timeout: seconds(Duration::from_millis(300)),
        ..sandbox.shell(line)
    };
    let finished = sandbox.run(request).await.expect("runs");
    assert_eq!(finished.signal(), Some(9));
    assert!(finished.end.expect("ended").timed_out);
}

#[tokio::test]
async fn an_end_is_told_though_a_descendant_holds_the_output_open() {
    let sandbox = Sandbox::attached().await;
    let line = "(setsid sleep 60 &) ; echo parent is done; exit 5";
    let finished = sandbox.run(sandbox.shell(line)).await.expect("runs");
    assert_eq!(
        (finished.text(), finished.exit_code()),
        ("parent is done\n", Some(5))
    );
}

#[tokio::test]
async fn a_signal_reaches_the_process_it_names_and_says_so() {
    let sandbox = Sandbox::attached().await;
    let mut stream = sandbox
        .processes()
        .run_process(sandbox.shell("echo up; exec sleep 60"))
        .await
        .expect("runs")
        .into_inner();
    let Event::Started(started) = next(&mut stream).await else {
        panic!("started comes first")
    };
    next(&mut stream).await;
    let signal = pb::SignalProcessRequest {
        process_id: started.process_id,
        signal: 15,
        group: false,
    };
    sandbox
        .processes()
        .signal_process(signal)
        .await
        .expect("sent");
    let finished = finish(stream).await;
    assert_eq!(finished.signal(), Some(15));
    assert!(!finished.end.expect("ended").timed_out);
}

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

#[tokio::test]
async fn processes_are_listed_newest_first_in_pages_and_without_their_arguments() {
    let sandbox = Sandbox::attached().await;
    for number in 0..5 {
        sandbox
            .run(sandbox.command(&["true", &format!("secret-{number}")]))
            .await
            .expect("runs");
    }
    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let request = pb::ListProcessesRequest {
            page_size: 2,
            page_token: token,
        };
        let page = sandbox
            .processes()
            .list_processes(request)
            .await
            .expect("a page")
            .into_inner();
        assert!(
            !format!("{page:?}").contains("secret"),
            "arguments are not answered"
        );
        seen.extend(page.processes);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(
        seen.windows(2)
            .all(|pair| pair[0].pid >= pair[1].pid || pair[0].started_at.is_some())
    );
    assert!(
        seen.iter()
            .all(|process| process.program == "true" && process.ended.is_some())
    );
}

#[tokio::test]
async fn what_a_process_left_unread_of_its_input_does_not_hold_it_up() {
    let sandbox = Sandbox::attached().await;
    let request = pb::RunProcessRequest {
        stdin: vec![b'x'; 1 << 20],
        ..sandbox.shell("exit 0")
    };
    assert_eq!(
        sandbox.run(request).await.expect("runs").exit_code(),
        Some(0)
    );
}
