//! What is done inside of the story's sandbox.

use std::collections::HashMap;

use sandgate_api::sandbox::v1 as sandbox;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::sandbox::v1::process_event::Event;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_api::sandbox::v1::write_file_request::Part;
use sandgate_e2e::canary::searchable;
use sandgate_e2e::config;

use super::{
    BODY_SECRET, CREATE_SECRET, FILE_SECRET, HEADER_SECRET, PROCESS_SECRET, RUN_TRACE,
    STDIN_SECRET, Story, traceparent,
};

/// A file is written in messages of this size.
const PIECE_BYTES: usize = 1024 * 1024;

/// An agent that goes on in the trace that it was started in, and says what it was given.
const AGENT: &str = "
import os, sys, urllib.request
environ = os.environ
headers = {'traceparent': environ['TRACEPARENT'], 'tracestate': 'x-user=root', 'x-note': environ['HEADER']}
headers['content-type'] = 'text/plain'
url = environ['SANDGATE_URL_NOTES'] + '/note'
asked = urllib.request.Request(url, data=environ['BODY'].encode(), headers=headers)
print(urllib.request.urlopen(asked, timeout=60).read().decode().strip())
for given in [environ['TRACEPARENT'], environ['OF_CREATE'], environ['OF_PROCESS'], sys.stdin.read()]:
    print(given)
";

impl Story {
    /// Runs the agent, in the client's trace. Answers the trace that it was given.
    pub(crate) async fn run(&self, sandbox: &str) -> String {
        let environment = [
            ("OF_PROCESS", PROCESS_SECRET),
            ("HEADER", HEADER_SECRET),
            ("BODY", BODY_SECRET),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let stdin = STDIN_SECRET.as_bytes().to_vec();
        let printed = self.python(sandbox, AGENT, environment.into(), stdin).await;
        let lines: Vec<&str> = printed.lines().collect();
        let [noted, trace, create, process, input] = lines.as_slice() else {
            panic!("{printed}")
        };
        // Each secret was where it belongs.
        assert_eq!(*noted, "noted");
        assert_eq!(
            [*create, *process, *input],
            [CREATE_SECRET, PROCESS_SECRET, STDIN_SECRET]
        );
        (*trace).to_owned()
    }

    /// Runs a program in Python to its end; answers what it printed.
    pub(crate) async fn python(
        &self,
        sandbox: &str,
        program: &str,
        environment: HashMap<String, String>,
        stdin: Vec<u8>,
    ) -> String {
        let argv = ["/usr/bin/python3", "-c", program];
        self.process(sandbox, argv, environment, stdin).await
    }

    /// Asks the gRPC backend for the score of a word, with grpcurl, in the trace that the process was started in.
    /// Answers what it printed.
    pub(crate) async fn ask_scores(&self, sandbox: &str) -> String {
        let proto = config::repository().join("tests/proto/scores/v1/scores.proto");
        let files = [(config::grpcurl(), "grpcurl"), (proto, "scores.proto")];
        for (file, name) in files {
            let content = std::fs::read(file).expect("read");
            self.put(sandbox, name, 0o755, &content).await;
        }
        let ask = "exec ./grpcurl -plaintext -proto scores.proto -H \"traceparent: $TRACEPARENT\" \
            -d '{\"word\": \"gate\"}' \"${SANDGATE_URL#http://}\" scores.v1.ScoreService/Score";
        let argv = ["/bin/sh", "-c", ask];
        self.process(sandbox, argv, HashMap::new(), Vec::new())
            .await
    }

    async fn process(
        &self,
        sandbox: &str,
        argv: [&str; 3],
        environment: HashMap<String, String>,
        stdin: Vec<u8>,
    ) -> String {
        let run = sandbox::RunProcessRequest {
            argv: argv.map(str::to_owned).into(),
            environment,
            stdin,
            ..Default::default()
        };
        let parent = traceparent(RUN_TRACE);
        let run = self.request(run, &[("x-sandbox-id", sandbox), ("traceparent", &parent)]);
        let mut client = ProcessServiceClient::new(self.channel.clone());
        let mut events = client.run_process(run).await.expect("run").into_inner();
        let mut printed = Vec::new();
        while let Some(event) = events.message().await.expect("an event") {
            match event.event.and_then(|event| event.event) {
                Some(Event::Stdout(output) | Event::Stderr(output)) => printed.extend(output.data),
                Some(Event::Started(_) | Event::Ended(_)) | None => {}
            }
        }
        searchable(&printed)
    }

    /// Writes a file and has it stored.
    pub(crate) async fn write(&self, sandbox: &str) {
        self.put(sandbox, "kept.txt", 0o644, FILE_SECRET.as_bytes())
            .await;
        let sync = sandbox::SyncFilesRequest::default();
        let sync = self.request(sync, &[("x-sandbox-id", sandbox)]);
        let mut client = FileServiceClient::new(self.channel.clone());
        client.sync_files(sync).await.expect("synced");
    }

    async fn put(&self, sandbox: &str, path: &str, mode: u32, content: &[u8]) {
        let header = sandbox::WriteFileHeader {
            path: path.into(),
            mode,
            ..Default::default()
        };
        let pieces = content.chunks(PIECE_BYTES).map(<[u8]>::to_vec);
        let parts: Vec<_> = std::iter::once(Part::Header(header))
            .chain(pieces.map(Part::Data))
            .map(|part| sandbox::WriteFileRequest { part: Some(part) })
            .collect();
        let write = self.request(tokio_stream::iter(parts), &[("x-sandbox-id", sandbox)]);
        let mut client = FileServiceClient::new(self.channel.clone());
        client.write_file(write).await.expect("written");
    }
}
