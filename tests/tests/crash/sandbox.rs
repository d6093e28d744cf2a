//! The processes of one sandbox are killed: its keeper, its runner, and the parent that holds its namespaces. The
//! conversation's client is told, and goes on in another sandbox from the last version.

use sandgate_api::orchestrator::v1::{Phase, Reason, Sandbox};
use sandgate_e2e::client::Client;
use sandgate_e2e::config;
use sandgate_e2e::mesh::Home;
use sandgate_e2e::processes::Service;

use crate::life::{Mesh, Traces, exec, ready};

/// The keeper and the sandbox's parent by what their command lines say. The runner has its parent's, and a name.
const ROLES: [&str; 3] = ["keeper", "runner", "sandbox"];

/// What the sandbox is at when one of its processes is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Rest,
    Command,
    Sync,
    End,
}

const MOMENTS: [Moment; 4] = [Moment::Rest, Moment::Command, Moment::Sync, Moment::End];

/// Kills the process of the one sandbox that has this role.
fn kill(mesh: &Mesh<'_>, role: &str) {
    let all = mesh.of_sandboxes();
    let mut own = all.iter().filter(|found| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", found.pid));
        if name.is_ok_and(|name| name.trim() == "runner") {
            return role == "runner";
        }
        let words = found.line.split(' ').filter(|word| !word.is_empty());
        let mut arguments = words.skip_while(|word| word.ends_with("sandboxd"));
        arguments.next() == Some(role)
    });
    let found = own.next().unwrap_or_else(|| panic!("no {role}: {all:?}"));
    assert_eq!(own.next(), None, "one {role}");
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &found.pid.to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()), "{found:?}");
}

/// Waits until the client has been told that its sandbox was lost.
async fn lost(client: &Client, sandbox_id: &str, row: &str) {
    let failed = client
        .until(sandbox_id, Phase::Failed)
        .await
        .unwrap_or_else(|status| panic!("{row}: {status:?}"));
    assert_eq!(failed.reason(), Reason::InstanceLost, "{row}: {failed:?}");
    assert!(
        failed.message.contains("create the conversation again"),
        "{row}: {failed:?}"
    );
}

/// Brings a sandbox to the moment, kills, and answers it once its client was told.
async fn killed_at(
    mesh: &Mesh<'_>,
    client: &Client,
    role: &str,
    moment: Moment,
    row: &str,
) -> Traces {
    let mut traces = Traces::default();
    let sandbox = ready(client, row).await;
    let id = sandbox.sandbox_id.clone();
    mesh.note(client, &sandbox, &mut traces).await;
    exec(
        client,
        row,
        &mesh.agent("echo kept > f; sleep 1000 & echo up"),
    )
    .await;
    client.sync(&id).await.expect("it is stored");
    match moment {
        Moment::Rest => {
            kill(mesh, role);
            lost(client, &id, row).await;
        }
        Moment::Command => {
            let running = client
                .begin_exec(&id, &mesh.agent("echo up; sleep 1000"))
                .await
                .expect("it runs");
            kill(mesh, role);
            // The keeper saw it die with its runner; without a keeper nobody did. It exited for nobody.
            let ended = running.end().await;
            assert!(
                ended.is_err() || ended.is_ok_and(|ran| ran.code.is_none()),
                "{row}"
            );
            lost(client, &id, row).await;
        }
        Moment::Sync => {
            let storage = mesh.kept(Service::Storage);
            exec(client, row, &mesh.agent("echo more > h; echo up")).await;
            storage.freeze();
            let kills = async {
                // It has its turn after the sync has begun to wait.
                tokio::task::yield_now().await;
                client.exec(&id, &["/bin/true"]).await.expect("it answers");
                kill(mesh, role);
            };
            let (synced, ()) = tokio::join!(client.sync(&id), kills);
            storage.thaw();
            synced.expect_err("nobody is there to sync");
            lost(client, &id, row).await;
        }
        Moment::End => {
            let storage = mesh.kept(Service::Storage);
            storage.freeze();
            let kills = async {
                client
                    .until(&id, Phase::Deleting)
                    .await
                    .expect("it is ending");
                kill(mesh, role);
                storage.thaw();
            };
            let (deleted, ()) = tokio::join!(client.delete(&id), kills);
            assert_eq!(deleted.expect("deleted").phase(), Phase::Deleted, "{row}");
        }
    }
    traces
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_killed_at_any_moment_leaves_nothing_but_its_stored_files() {
    let home = Home::new();
    let mesh = Mesh::start(&home, config::binaries());
    for moment in MOMENTS {
        for role in ROLES {
            let row = format!("{moment:?}-{role}");
            let client = mesh.client(&row);
            // The services are there first: frozen before, they would never be.
            client
                .insist("list", async |client| client.list().await)
                .await;
            let mut traces = killed_at(&mesh, &client, role, moment, &row).await;
            // Whoever asks for the lost one again is told again; another request makes another.
            if !matches!(moment, Moment::End) {
                client.create(&row).await.expect_err("it is lost");
            }
            let next = ready(&client, &format!("{row}-next")).await;
            mesh.note(&client, &next, &mut traces).await;
            let words = mesh.agent("cat f");
            let found = client
                .exec(&next.sandbox_id, &words)
                .await
                .expect("it runs");
            assert_eq!(found.stdout, "kept\n", "{row}");
            let deleted = client.delete(&next.sandbox_id).await.expect("deleted");
            assert_eq!(deleted.phase(), Phase::Deleted, "{row}");
            mesh.nothing_is_left(&client, &traces, &row).await;
            let rows = client.list().await.expect("a list");
            let mut phases: Vec<Phase> = rows.iter().map(Sandbox::phase).collect();
            phases.sort();
            // The lost one stays readable, as one that failed; it is in nobody's way.
            let first = match moment {
                Moment::End => Phase::Deleted,
                Moment::Rest | Moment::Command | Moment::Sync => Phase::Failed,
            };
            assert_eq!(phases, [Phase::Deleted, first], "{row}: {rows:?}");
        }
    }
}
