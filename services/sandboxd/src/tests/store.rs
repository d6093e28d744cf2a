//! A store of workspaces, as small as can be.

mod service;

use std::collections::{BTreeMap, HashMap};

use sandgate_api::storage::v1 as pb;
use tonic::Status;

use super::harness::NEVER;
use super::mesh::Mesh;

/// What is stored.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Each version: its number is its place, from one on.
    versions: Vec<BTreeMap<Vec<u8>, pb::Entry>>,
    chunks: HashMap<Vec<u8>, Vec<u8>>,
    uploaded: usize,
    begun: usize,
    /// Moves the head by itself before the next commit.
    interferes: Option<pb::Entry>,
    /// What commits are answered.
    refuses: Option<Status>,
    /// How many more times nothing is brought.
    hydrates_fail: usize,
    /// How many entries a version is said to have.
    claims: Option<u64>,
}

/// Offers of chunks that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Offers {
    held: bool,
    waiting: usize,
}

impl Store {
    fn head(&self) -> String {
        name(self.versions.len())
    }
}

fn name(number: usize) -> String {
    if number == 0 {
        String::new()
    } else {
        format!("v{number:025}")
    }
}

impl Mesh {
    /// The newest version's entries.
    pub(super) fn newest(&self) -> BTreeMap<Vec<u8>, pb::Entry> {
        self.store().versions.last().cloned().unwrap_or_default()
    }

    pub(super) fn head(&self) -> String {
        self.store().head()
    }

    /// The content of a file of the newest version; holes are zeros.
    pub(super) fn content(&self, path: &str) -> Vec<u8> {
        let state = self.store();
        let entry = state
            .versions
            .last()
            .and_then(|version| version.get(path.as_bytes()))
            .expect("an entry");
        let pieces = entry
            .chunks
            .iter()
            .map(|chunk| match chunk.hash.is_empty() {
                true => vec![0; usize::try_from(chunk.length).expect("a test's hole is small")],
                false => state
                    .chunks
                    .get(&chunk.hash)
                    .expect("a stored chunk")
                    .clone(),
            });
        pieces.collect::<Vec<_>>().concat()
    }

    /// How many chunks were sent.
    pub(super) fn uploaded(&self) -> usize {
        self.store().uploaded
    }

    /// Makes a version that somebody else wrote, and answers its name.
    pub(super) fn write(&self, entries: &[(pb::Entry, &[u8])]) -> String {
        let mut state = self.store();
        let mut version = state.versions.last().cloned().unwrap_or_default();
        for (entry, content) in entries {
            let mut entry = entry.clone();
            if !content.is_empty() {
                let hash = blake3::hash(content).as_bytes().to_vec();
                state.chunks.insert(hash.clone(), content.to_vec());
                entry.size = content.len() as u64;
                entry.chunks = vec![pb::ChunkRef {
                    hash,
                    length: content.len() as u64,
                }];
            }
            version.insert(entry.path.clone(), entry);
        }
        state.versions.push(version);
        state.head()
    }

    /// Makes a version that is the one of this number again, as somebody does who restores it.
    pub(super) fn restore(&self, number: usize) {
        let mut state = self.store();
        let version = state.versions[number - 1].clone();
        state.versions.push(version);
    }

    /// Lets somebody else write `entry` right before the next commit.
    pub(super) fn interfere(&self, entry: pb::Entry) {
        self.store().interferes = Some(entry);
    }

    /// What commits are answered from now on.
    pub(super) fn refuse_commits(&self, status: Status) {
        self.store().refuses = Some(status);
    }

    /// Lets so many attempts to bring a version in fail half way.
    pub(super) fn fail_hydrates(&self, count: usize) {
        self.store().hydrates_fail = count;
    }

    /// Says of every version that it has so many entries.
    pub(super) fn claim_entries(&self, count: u64) {
        self.store().claims = Some(count);
    }

    /// How many uploads were begun.
    pub(super) fn begun(&self) -> usize {
        self.store().begun
    }

    /// Brings what another store holds of content here.
    pub(super) fn take_chunks(&self, other: &Self) {
        let chunks = other.store().chunks.clone();
        self.store().chunks.extend(chunks);
    }

    /// Whether offers of chunks wait from now on.
    pub(super) fn hold_offers(&self, held: bool) {
        self.offers().send_modify(|offers| offers.held = held);
    }

    /// Waits until an offer waits.
    pub(super) async fn an_offer_waits(&self) {
        let mut offers = self.offers().subscribe();
        let waits = offers.wait_for(|offers| offers.waiting > 0);
        let waits = tokio::time::timeout(NEVER, waits).await;
        waits.expect("somebody offers").expect("the mesh is there");
    }
}

/// A file's entry without its content.
pub(super) fn file(path: &str) -> pb::Entry {
    pb::Entry {
        path: path.as_bytes().to_vec(),
        kind: pb::EntryKind::File.into(),
        mode: 0o640,
        mtime_seconds: 1_600_000_000,
        mtime_nanos: 5,
        ..Default::default()
    }
}
