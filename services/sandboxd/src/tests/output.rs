//! What a process wrote: for who reads along, for who comes back, and for nobody.

use std::time::Duration;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::process_event::Event;
use tonic::{Code, Status};

use super::harness::{NEVER, Sandbox, finish, next, reason};

/// What a refusal says is kept: from the first offset to the end.
fn kept(refused: &Status) -> (u64, u64) {
    use tonic_types::StatusExt as _;
    assert_eq!(
        (refused.code(), reason(refused).as_str()),
        (Code::OutOfRange, "OUTPUT_NOT_KEPT")
    );
    let facts = refused
        .get_details_error_info()
        .expect("ErrorInfo")
        .metadata;
    let number = |name: &str| facts[name].parse().expect("a number");
    (number("first_offset"), number("end_offset"))
}

/// Starts a process that nobody reads along with.
async fn detached(sandbox: &Sandbox, request: pb::RunProcessRequest) -> String {
    let stream = sandbox.processes().run_process(request).await;
    let mut stream = stream.expect("runs").into_inner();
    let Event::Started(started) = next(&mut stream).await else {
        panic!("started comes first")
    };
    started.process_id
}

/// A process as it is listed once it has ended.
async fn ended(sandbox: &Sandbox, id: &str) -> pb::Process {
    let ended = async {
        loop {
            let list = sandbox
                .processes()
                .list_processes(pb::ListProcessesRequest::default())
                .await
                .expect("a list");
            let mut processes = list.into_inner().processes.into_iter();
            let process = processes.find(|process| process.process_id == id);
            let process = process.expect("it is listed");
            if process.ended.is_some() {
                return process;
            }
        }
    };
    tokio::time::timeout(NEVER, ended).await.expect("it ends")
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
    let process = ended(&sandbox, &started.process_id).await;
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
    let (first, end) = kept(&refused);
    assert_eq!(end, 100 << 20);
    assert!(
        (1..=1 << 20).contains(&(end - first)),
        "a process keeps at most 1 MiB: {first}..{end}"
    );
    for offset in [first - 1, end + 1] {
        let refused = sandbox.processes().attach_process(attach(offset)).await;
        assert_eq!(kept(&refused.expect_err("not kept")), (first, end));
    }
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
async fn an_attached_reader_that_does_not_read_holds_the_process_up_and_misses_nothing() {
    const WRITTEN: usize = 32 << 20;
    let sandbox = Sandbox::attached().await;
    let line = format!("head -c {WRITTEN} /dev/zero; touch written");
    let stream = sandbox.processes().run_process(sandbox.shell(&line)).await;
    let stream = stream.expect("runs").into_inner();
    // As long as it takes to write as much where somebody reads, it gets nowhere.
    let beside = sandbox
        .run(sandbox.shell(&format!("head -c {WRITTEN} /dev/zero")))
        .await;
    assert_eq!(beside.expect("runs").stdout.len(), WRITTEN);
    assert!(!sandbox.at("written").exists());
    let finished = finish(stream).await;
    assert_eq!(finished.stdout.len(), WRITTEN);
    assert!(sandbox.at("written").exists());
}

#[tokio::test]
async fn four_mebibytes_are_kept_of_all_processes_together() {
    let sandbox = Sandbox::attached().await;
    let mut total = 0;
    let mut ids = Vec::new();
    for _ in 0..8 {
        let id = detached(&sandbox, sandbox.shell("head -c 2097152 /dev/zero")).await;
        ended(&sandbox, &id).await;
        ids.push(id);
    }
    for process_id in ids {
        let attach = pb::AttachProcessRequest {
            process_id,
            offset: 0,
        };
        let refused = sandbox.processes().attach_process(attach).await;
        let (first, end) = kept(&refused.expect_err("the beginning is gone"));
        assert_eq!(end, 2 << 20);
        total += end - first;
    }
    assert!(
        (1 << 20..=4 << 20).contains(&total),
        "{total} bytes are kept"
    );
}

#[tokio::test]
async fn who_leaves_does_not_end_a_process_but_its_own_timeout_does() {
    let sandbox = Sandbox::attached().await;
    let request = pb::RunProcessRequest {
        timeout: Some(sandgate_api::duration_to(Duration::from_secs(1))),
        ..sandbox.shell("echo first; sleep 1000")
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
    next(&mut stream).await;
    drop(stream);
    let process = ended(&sandbox, &started.process_id).await;
    let end = process.ended.expect("ended");
    assert!(end.timed_out, "{end:?}");
    assert_eq!(end.how, Some(pb::process_ended::How::Signal(9)));
}
