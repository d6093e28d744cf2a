//! The contract of the store, run on each database that the test run has.

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_testkit::{Fresh, each_database};
use sandgate_types::{
    ConversationId, Generation, InstanceId, RequestId, SandboxId, UploadId, UserId, VersionId,
};
use sandgate_workspace::manifest::Root;
use sandgate_workspace::{BlobName, ContentHash, NameKeys};

use super::*;
use crate::version::{Advance, Commit, Memo, Origin, Run, Settles, Version};
use crate::workspace::Workspace;

mod requests;

const BOUNDS: UploadBounds = UploadBounds {
    chunks: 3,
    bytes: 100,
    open: 2,
};

struct Fixture {
    store: Store,
    workspace: Workspace,
    rng: StdRng,
    now: Timestamp,
    _fresh: Fresh,
}

impl Fixture {
    fn new(fresh: Fresh) -> Self {
        let workspace = Workspace {
            tenant: TenantId::parse("tenant", "acme").expect("valid"),
            user: UserId::parse("user", "ann").expect("valid"),
            conversation: ConversationId::parse("conversation", "c").expect("valid"),
        };
        Self {
            store: Store::new(fresh.database.clone()),
            workspace,
            rng: StdRng::seed_from_u64(7),
            now: Timestamp::from_seconds(1_900_000_000),
            _fresh: fresh,
        }
    }

    fn run(&mut self, generation: i64) -> Run {
        Run {
            sandbox: SandboxId::random(&mut StdRng::seed_from_u64(1)),
            instance: InstanceId::random(&mut self.rng),
            generation: Generation::parse("generation", generation).expect("positive"),
        }
    }

    fn expired(&self) -> Timestamp {
        self.now.minus(Duration::from_secs(24 * 3600))
    }

    async fn begin(&mut self, run: &Run) -> Result<UploadId, BeginError> {
        let upload = NewUpload {
            workspace: &self.workspace,
            run,
            parent: None,
            id: UploadId::random(&mut self.rng),
            open: BOUNDS.open,
            expired: self.expired(),
            now: self.now,
        };
        self.store.begin_upload(upload).await
    }

    fn advance(&mut self, parent: Option<VersionId>, settles: Settles) -> Advance {
        Advance {
            workspace: self.workspace.id(),
            id: VersionId::random(&mut self.rng),
            parent,
            root: Root {
                name: name(0),
                entries: 1,
                bytes: 2,
            },
            origin: Origin::Sync,
            settles,
            now: self.now,
        }
    }

    async fn written(&mut self, parent: Option<VersionId>) -> Result<Version, AdvanceError> {
        self.store
            .ensure_workspace(&self.workspace, self.now)
            .await
            .expect("a row");
        let advance = self.advance(
            parent,
            Settles::Request {
                memo: None,
                chunks: Vec::new(),
            },
        );
        self.store.advance(&advance).await
    }
}

fn name(number: u8) -> BlobName {
    NameKeys::derive(&[1; 32]).chunk(&ContentHash::of(&[number]))
}

async fn on_each<F: AsyncFn(Fixture)>(test: F) {
    for fresh in each_database(&MIGRATIONS).await {
        test(Fixture::new(fresh)).await;
    }
}

#[tokio::test]
async fn a_tenants_secret_is_made_once() {
    on_each(async |fixture| {
        let secret = |fresh| {
            fixture
                .store
                .tenant_secret(&fixture.workspace.tenant, fresh, fixture.now)
        };
        assert_eq!(secret([1; 32]).await.expect("made"), [1; 32]);
        assert_eq!(secret([2; 32]).await.expect("read"), [1; 32]);
    })
    .await;
}

#[tokio::test]
async fn a_head_moves_only_from_the_version_it_was_made_from() {
    on_each(async |mut fixture| {
        let id = fixture.workspace.id();
        assert_eq!(fixture.store.head(&id).await.expect("read"), None);
        let first = fixture.written(None).await.expect("first");
        let refused = fixture.written(None).await.expect_err("a second first one");
        assert!(matches!(refused, AdvanceError::HeadMoved));
        let second = fixture
            .written(Some(first.id.clone()))
            .await
            .expect("second");
        assert_eq!((first.number, second.number), (1, 2));
        assert_eq!(
            fixture.store.head(&id).await.expect("read"),
            Some(second.clone())
        );
        let all = fixture
            .store
            .versions(&id, i64::MAX, 10)
            .await
            .expect("read");
        assert_eq!(all, [second.clone(), first.clone()]);
        let page = fixture
            .store
            .versions(&id, second.number, 1)
            .await
            .expect("read");
        assert_eq!(page, [first]);
    })
    .await;
}

#[tokio::test]
async fn chunks_are_known_to_their_upload_and_after_the_commit_to_the_workspace() {
    on_each(async |mut fixture| {
        let id = fixture.workspace.id();
        let run = fixture.run(1);
        let upload = fixture.begin(&run).await.expect("begun");
        let chunks = [(name(1), 10), (name(2), 20)];
        fixture
            .store
            .grow_upload(&upload, &chunks, &BOUNDS)
            .await
            .expect("grown");
        let other = UploadId::random(&mut fixture.rng);
        let asked = [name(1), name(2), name(3)];
        let known = fixture
            .store
            .known_chunks(&id, &upload, &asked)
            .await
            .expect("read");
        assert_eq!(known.len(), 2);
        assert_eq!(known[&name(2)], 20);
        assert!(
            fixture
                .store
                .known_chunks(&id, &other, &asked)
                .await
                .expect("read")
                .is_empty()
        );

        let commit = Commit {
            upload: upload.clone(),
            fingerprint: [9; 32],
            run: run.clone(),
        };
        let advance = fixture.advance(None, Settles::Upload(commit.clone()));
        let version = fixture.store.advance(&advance).await.expect("committed");
        assert_eq!(
            fixture
                .store
                .known_chunks(&id, &other, &asked)
                .await
                .expect("read")
                .len(),
            2
        );
        let found = fixture
            .store
            .upload(&id, &run.instance, &upload, fixture.expired())
            .await;
        let found = found.expect("read").expect("kept for its answer");
        assert_eq!(found.committed, Some((version.id.clone(), [9; 32])));
        let again = fixture.advance(Some(version.id), Settles::Upload(commit));
        let refused = fixture.store.advance(&again).await.expect_err("settled");
        assert!(matches!(refused, AdvanceError::UploadNotOpen));
    })
    .await;
}

#[tokio::test]
async fn an_upload_is_its_instances_own_and_goes_on_where_it_was() {
    on_each(async |mut fixture| {
        let (run, other) = (fixture.run(1), fixture.run(1));
        let upload = fixture.begin(&run).await.expect("begun");
        assert_eq!(fixture.begin(&run).await.expect("goes on"), upload);
        let (id, expired) = (fixture.workspace.id(), fixture.expired());
        let own = fixture
            .store
            .upload(&id, &run.instance, &upload, expired)
            .await;
        let foreign = fixture
            .store
            .upload(&id, &other.instance, &upload, expired)
            .await;
        assert!(own.expect("read").is_some());
        assert!(foreign.expect("read").is_none());
    })
    .await;
}

#[tokio::test]
async fn an_upload_stays_within_its_bounds_and_a_repeated_chunk_counts_once() {
    on_each(async |mut fixture| {
        let run = fixture.run(1);
        let upload = fixture.begin(&run).await.expect("begun");
        let grow = async |chunks: &[(BlobName, u32)]| {
            fixture.store.grow_upload(&upload, chunks, &BOUNDS).await
        };
        grow(&[(name(1), 50), (name(2), 50)])
            .await
            .expect("at its bound");
        grow(&[(name(1), 50)]).await.expect("there already");
        assert!(matches!(grow(&[(name(3), 1)]).await, Err(GrowError::Full)));
        let known = fixture
            .store
            .known_chunks(&fixture.workspace.id(), &upload, &[name(3)])
            .await;
        assert!(known.expect("read").is_empty(), "nothing of it is noted");
    })
    .await;
}

#[tokio::test]
async fn a_workspace_has_few_open_uploads_and_old_ones_are_forgotten() {
    on_each(async |mut fixture| {
        let mut begun = Vec::new();
        for _ in 0..BOUNDS.open {
            let run = fixture.run(1);
            begun.push(fixture.begin(&run).await.expect("begun"));
        }
        let run = fixture.run(1);
        assert!(matches!(
            fixture.begin(&run).await,
            Err(BeginError::TooMany)
        ));
        fixture.now = fixture.now.plus(Duration::from_secs(24 * 3600));
        fixture
            .begin(&run)
            .await
            .expect("the old ones count no more");
        let forgotten = fixture
            .store
            .forget(fixture.expired(), 10)
            .await
            .expect("forgotten");
        assert_eq!(forgotten, begun.len());
        let grown = fixture
            .store
            .grow_upload(&begun[0], &[(name(1), 1)], &BOUNDS)
            .await;
        assert!(matches!(grown, Err(GrowError::NotOpen)));
    })
    .await;
}

#[tokio::test]
async fn an_earlier_run_of_a_sandbox_is_kept_out_once_a_later_one_came() {
    on_each(async |mut fixture| {
        let (earlier, later) = (fixture.run(1), fixture.run(2));
        let upload = fixture.begin(&earlier).await.expect("begun");
        fixture.begin(&later).await.expect("begun");
        assert!(matches!(
            fixture.begin(&earlier).await,
            Err(BeginError::RunPassed)
        ));
        let commit = Commit {
            upload,
            fingerprint: [9; 32],
            run: earlier,
        };
        let advance = fixture.advance(None, Settles::Upload(commit));
        let refused = fixture.store.advance(&advance).await.expect_err("passed");
        assert!(matches!(refused, AdvanceError::RunPassed));
        assert_eq!(
            fixture
                .store
                .head(&fixture.workspace.id())
                .await
                .expect("read"),
            None
        );
    })
    .await;
}
