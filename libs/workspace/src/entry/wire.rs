//! Entries between the wire and the types of this crate; what breaks a rule is refused by field.

use sandgate_api::storage::v1 as pb;
use sandgate_types::Malformed;

use super::{Entry, FILE_MAX_BYTES, FILE_PIECES_MAX, LINK_TARGET_MAX_BYTES, Node, Piece, Stated};
use crate::tree::{MODE_MASK, Mtime};
use crate::{CHUNK_MAX_BYTES, ContentHash, TreePath};

impl<C> Entry<C> {
    /// The wire form without the content.
    pub fn to_wire_without_content(&self) -> pb::Entry {
        let (kind, link_target) = match &self.node {
            Node::File { .. } => (pb::EntryKind::File, Vec::new()),
            Node::Directory => (pb::EntryKind::Directory, Vec::new()),
            Node::Symlink { target } => (pb::EntryKind::Symlink, target.clone()),
        };
        pb::Entry {
            path: self.path.as_bytes().to_vec(),
            kind: kind.into(),
            mode: self.mode,
            mtime_seconds: self.mtime.seconds,
            mtime_nanos: self.mtime.nanos,
            size: self.size(),
            chunks: Vec::new(),
            link_target,
        }
    }
}

impl Entry<Stated> {
    /// The wire form.
    pub fn to_wire(&self) -> pb::Entry {
        let chunks = match &self.node {
            Node::File { content, .. } => content.iter().map(piece_to_wire).collect(),
            Node::Directory | Node::Symlink { .. } => Vec::new(),
        };
        pb::Entry {
            chunks,
            ..self.to_wire_without_content()
        }
    }

    /// Reads an entry whose content is stated in full; neighbouring holes become one.
    ///
    /// # Errors
    /// The field and the rule that it breaks.
    pub fn from_wire(entry: pb::Entry) -> Result<Self, Malformed> {
        let content = pieces_from_wire(&entry.chunks)?;
        let is_file = entry.kind == i32::from(pb::EntryKind::File);
        let bare = Entry::from_wire_without_content(entry)?;
        if !is_file && !content.is_empty() {
            return Err(Malformed::new(
                "chunks",
                "must be empty for what is no file",
            ));
        }
        let stated: u64 = content.iter().map(Piece::length).sum();
        if bare.size() != stated {
            return Err(Malformed::new(
                "size",
                "must be the sum of the lengths of the chunks",
            ));
        }
        bare.try_map(|()| Ok(content))
    }
}

impl Entry<()> {
    /// Reads an entry whose content comes otherwise, as when a workspace is hydrated; chunks are not looked at.
    ///
    /// # Errors
    /// The field and the rule that it breaks.
    pub fn from_wire_without_content(entry: pb::Entry) -> Result<Self, Malformed> {
        let pb::Entry {
            path,
            kind,
            mode,
            mtime_seconds,
            mtime_nanos,
            size,
            chunks: _,
            link_target,
        } = entry;
        let refuse = |field: &str, rule: &str| Err(Malformed::new(field, rule));
        let path = TreePath::parse("path", &path)?;
        if mode > MODE_MASK {
            return refuse("mode", "must be permission bits, 0 to 0777");
        }
        if mtime_nanos >= 1_000_000_000 {
            return refuse("mtime_nanos", "must be below 1,000,000,000");
        }
        if size > FILE_MAX_BYTES {
            return refuse("size", "must be at most 8 TiB");
        }
        let node = node_from_wire(kind, size, link_target)?;
        Ok(Self {
            path,
            mode,
            mtime: Mtime {
                seconds: mtime_seconds,
                nanos: mtime_nanos,
            },
            node,
        })
    }
}

fn node_from_wire(kind: i32, size: u64, target: Vec<u8>) -> Result<Node<()>, Malformed> {
    let refuse = |field: &str, rule: &str| Err(Malformed::new(field, rule));
    let kind = pb::EntryKind::try_from(kind).unwrap_or(pb::EntryKind::Unspecified);
    let (has_size, has_target) = match kind {
        pb::EntryKind::Unspecified => {
            return refuse("kind", "must be a file, directory or symbolic link");
        }
        pb::EntryKind::File => (true, false),
        pb::EntryKind::Directory => (false, false),
        pb::EntryKind::Symlink => (false, true),
    };
    if size != 0 && !has_size {
        return refuse("size", "must be 0 for what is no file");
    }
    if !has_target {
        if !target.is_empty() {
            return refuse("link_target", "must be empty for what is no symbolic link");
        }
        let content = ();
        return Ok(if has_size {
            Node::File { size, content }
        } else {
            Node::Directory
        });
    }
    if target.is_empty() || target.len() > LINK_TARGET_MAX_BYTES {
        return refuse("link_target", "must have 1 to 4,095 bytes");
    }
    if target.contains(&0) {
        return refuse("link_target", "must not contain NUL");
    }
    Ok(Node::Symlink { target })
}

fn piece_to_wire(piece: &Piece<ContentHash>) -> pb::ChunkRef {
    let hash = match piece {
        Piece::Hole(_) => Vec::new(),
        Piece::Chunk { name, .. } => name.as_bytes().to_vec(),
    };
    pb::ChunkRef {
        hash,
        length: piece.length(),
    }
}

fn pieces_from_wire(chunks: &[pb::ChunkRef]) -> Result<Stated, Malformed> {
    if chunks.len() > FILE_PIECES_MAX {
        return Err(Malformed::new("chunks", "must be at most 98,304"));
    }
    let mut pieces: Stated = Vec::with_capacity(chunks.len());
    let mut total = 0_u64;
    for (index, pb::ChunkRef { hash, length }) in chunks.iter().enumerate() {
        let refuse =
            |field: &str, rule: &str| Err(Malformed::new(format!("chunks[{index}].{field}"), rule));
        total = total.saturating_add(*length);
        if *length == 0 || total > FILE_MAX_BYTES {
            return refuse(
                "length",
                "must be at least 1, and all together at most 8 TiB",
            );
        }
        if hash.is_empty() {
            match pieces.last_mut() {
                Some(Piece::Hole(before)) => *before += length,
                Some(Piece::Chunk { .. }) | None => pieces.push(Piece::Hole(*length)),
            }
            continue;
        }
        let name = ContentHash::parse(&format!("chunks[{index}].hash"), hash)?;
        match u32::try_from(*length) {
            Ok(length) if length as usize <= CHUNK_MAX_BYTES => {
                pieces.push(Piece::Chunk { name, length })
            }
            Ok(_) | Err(_) => return refuse("length", "must be at most 262,144 for a chunk"),
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> pb::Entry {
        pb::Entry {
            path: b"d/f".to_vec(),
            kind: pb::EntryKind::File.into(),
            mode: 0o644,
            mtime_seconds: -1,
            mtime_nanos: 999_999_999,
            size: 5_000_000_010,
            chunks: vec![
                pb::ChunkRef {
                    hash: vec![1; 32],
                    length: 10,
                },
                pb::ChunkRef {
                    hash: Vec::new(),
                    length: 5_000_000_000,
                },
            ],
            link_target: Vec::new(),
        }
    }

    #[test]
    fn an_entry_survives_the_wire() {
        let link = pb::Entry {
            kind: pb::EntryKind::Symlink.into(),
            size: 0,
            chunks: Vec::new(),
            link_target: b"../\xff".to_vec(),
            ..file()
        };
        for wire in [file(), link] {
            assert_eq!(
                Entry::from_wire(wire.clone()).expect("valid").to_wire(),
                wire
            );
        }
    }

    #[test]
    fn an_entry_that_lies_or_contradicts_itself_is_refused_by_field() {
        let with = |change: &dyn Fn(&mut pb::Entry)| {
            let mut wire = file();
            change(&mut wire);
            Entry::from_wire(wire)
                .expect_err("refused")
                .field()
                .to_owned()
        };
        assert_eq!(with(&|e| e.size += 1), "size");
        assert_eq!(with(&|e| e.chunks[0].length = 11), "size");
        assert_eq!(with(&|e| e.chunks[0].length = 0), "chunks[0].length");
        assert_eq!(
            with(&|e| e.chunks[0].length = u64::from(u32::MAX)),
            "chunks[0].length"
        );
        assert_eq!(with(&|e| e.chunks[1].length = u64::MAX), "chunks[1].length");
        assert_eq!(with(&|e| e.chunks[0].hash = vec![1; 31]), "chunks[0].hash");
        assert_eq!(with(&|e| e.mode = 0o4755), "mode");
        assert_eq!(with(&|e| e.mtime_nanos = 1_000_000_000), "mtime_nanos");
        assert_eq!(with(&|e| e.path = b"../f".to_vec()), "path");
        assert_eq!(with(&|e| e.kind = 0), "kind");
        assert_eq!(with(&|e| e.kind = 9), "kind");
        assert_eq!(with(&|e| e.kind = pb::EntryKind::Directory.into()), "size");
        let directory = |e: &mut pb::Entry| {
            e.kind = pb::EntryKind::Directory.into();
            e.size = 0;
        };
        assert_eq!(with(&directory), "chunks");
        assert_eq!(with(&|e| e.link_target = b"x".to_vec()), "link_target");
        let link = |e: &mut pb::Entry| {
            e.kind = pb::EntryKind::Symlink.into();
            e.chunks.clear();
            e.size = 0;
        };
        assert_eq!(with(&link), "link_target");
        assert_eq!(
            with(&|e| {
                link(e);
                e.link_target = vec![b'x'; 4096]
            }),
            "link_target"
        );
        assert_eq!(
            with(&|e| {
                link(e);
                e.link_target = b"a\0".to_vec()
            }),
            "link_target"
        );
    }

    #[test]
    fn neighbouring_holes_become_one() {
        let mut wire = file();
        wire.chunks.push(pb::ChunkRef {
            hash: Vec::new(),
            length: 6,
        });
        wire.size += 6;
        let Node::File { content, .. } = Entry::from_wire(wire).expect("valid").node else {
            panic!("a file");
        };
        assert_eq!(content.len(), 2);
    }
}
