//! What a process does, and what is told of it.

use std::time::Duration;

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::process_event::Event;

use super::harness::{Sandbox, finish, next};

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
async fn what_forked_away_lives_on_and_the_answer_is_its_parents_alone() {
    let sandbox = Sandbox::attached().await;
    let line = "mkfifo go; (setsid sh -c 'read x < go; echo late; touch sign; exit 9' &); exit 5";
    let finished = sandbox.run(sandbox.shell(line)).await.expect("runs");
    assert_eq!((finished.text(), finished.exit_code()), ("", Some(5)));
    // Its parent's output is still open to it, and writing there does not end it.
    let line = "echo x > go; while [ ! -e sign ]; do sleep 0.01; done";
    let finished = sandbox.run(sandbox.shell(line)).await.expect("runs");
    assert_eq!(finished.exit_code(), Some(0));
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
async fn a_list_goes_on_behind_a_process_that_was_forgotten_meanwhile() {
    let sandbox = Sandbox::attached().await;
    let list = |page_token| {
        let mut processes = sandbox.processes();
        let request = pb::ListProcessesRequest {
            page_size: 1,
            page_token,
        };
        async move {
            let page = processes.list_processes(request).await.expect("a page");
            page.into_inner()
        }
    };
    let request = pb::RunProcessRequest {
        keep_stdin_open: true,
        ..sandbox.command(&["cat"])
    };
    let oldest = sandbox.processes().run_process(request).await;
    let _oldest = oldest.expect("runs");
    let short = || sandbox.run(sandbox.command(&["true"]));
    short().await.expect("runs");
    let first = list(String::new()).await;
    assert_eq!(first.processes[0].program, "true");
    // As many as are remembered of those that ended, so that the first page's is not any more.
    for _ in 0..64 {
        short().await.expect("runs");
    }
    let next = list(first.next_page_token).await;
    assert_eq!(next.processes[0].program, "cat");
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
