//! Reading a manifest in order, from any path on, a page at a time.

use std::collections::VecDeque;

use super::Root;
use super::page::{BodyProto, ChildProto, PageError, decode, entry_from_proto};
use crate::{BlobName, Entry, Stored, TreePath};

/// A tree of a million entries has 3 levels; a page of a cycle or a chain is refused long before memory matters.
const LEVELS_MAX: usize = 16;

/// What a cursor needs or has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It needs this page: fetch and verify it, then call [`Cursor::feed`].
    Page(BlobName),
    /// The next entry.
    Entry(Box<Entry<Stored>>),
    /// There are no more.
    End,
}

/// Walks a manifest. Holds one page for each level.
#[derive(Debug)]
pub struct Cursor {
    wanted: Option<Wanted>,
    above: Vec<Above>,
    entries: VecDeque<Entry<Stored>>,
    /// Paths before this one are passed over.
    from: Vec<u8>,
    last: TreePath,
}

#[derive(Debug)]
struct Above {
    level: u32,
    children: VecDeque<ChildProto>,
}

#[derive(Debug)]
struct Wanted {
    name: BlobName,
    first_path: Option<Vec<u8>>,
    entries: u64,
    bytes: u64,
}

impl Cursor {
    /// At the first entry.
    pub fn new(root: &Root) -> Self {
        Self::from(root, Vec::new())
    }

    /// At the first entry whose path is not before `from`, as raw bytes.
    pub fn from(root: &Root, from: Vec<u8>) -> Self {
        Self {
            wanted: Some(Wanted {
                name: root.name,
                first_path: None,
                entries: root.entries,
                bytes: root.bytes,
            }),
            above: Vec::new(),
            entries: VecDeque::new(),
            from,
            last: TreePath::root(),
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// When a page refers to something that cannot be.
    pub fn step(&mut self) -> Result<Step, PageError> {
        loop {
            if let Some(wanted) = &self.wanted {
                return Ok(Step::Page(wanted.name));
            }
            if let Some(entry) = self.entries.pop_front() {
                return Ok(Step::Entry(Box::new(entry)));
            }
            let Some(above) = self.above.last_mut() else {
                return Ok(Step::End);
            };
            match above.children.pop_front() {
                Some(child) => {
                    let name =
                        BlobName::parse("name", &child.name).map_err(|_| PageError::Unreadable)?;
                    self.wanted = Some(Wanted {
                        name,
                        first_path: Some(child.first_path),
                        entries: child.entries,
                        bytes: child.bytes,
                    });
                }
                None => {
                    self.above.pop();
                }
            }
        }
    }

    /// Takes the page that [`Step::Page`] asked for, whose bytes have that name.
    ///
    /// # Errors
    /// When it is not what refers to it says; then the manifest cannot be read further.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        let wanted = self.wanted.take().ok_or(PageError::Mismatch)?;
        match decode(bytes)? {
            BodyProto::Entries(page) => {
                if self.above.last().is_some_and(|above| above.level != 1) {
                    return Err(PageError::Mismatch);
                }
                let first = page.entries.first().map(|entry| entry.path.as_slice());
                wanted.check(first, page.entries.iter().map(|entry| (1, entry.size)))?;
                for proto in page.entries {
                    let entry = entry_from_proto(proto)?;
                    if entry.path <= self.last {
                        return Err(PageError::Unsorted);
                    }
                    self.last = entry.path.clone();
                    if entry.path.as_bytes() >= self.from.as_slice() {
                        self.entries.push_back(entry);
                    }
                }
            }
            BodyProto::Children(page) => {
                let fits = self
                    .above
                    .last()
                    .is_none_or(|above| page.level.checked_add(1) == Some(above.level));
                if page.level == 0 || !fits || self.above.len() == LEVELS_MAX {
                    return Err(PageError::Mismatch);
                }
                let first = page
                    .children
                    .first()
                    .map(|child| child.first_path.as_slice());
                wanted.check(
                    first,
                    page.children
                        .iter()
                        .map(|child| (child.entries, child.bytes)),
                )?;
                let mut children = VecDeque::from(page.children);
                // A child may hold `from` only if the one after it begins later.
                while children
                    .get(1)
                    .is_some_and(|next| next.first_path <= self.from)
                {
                    children.pop_front();
                }
                self.above.push(Above {
                    level: page.level,
                    children,
                });
            }
            BodyProto::Pieces(_) => return Err(PageError::Mismatch),
        }
        Ok(())
    }
}

impl Wanted {
    /// Whether a page begins and adds up as the reference to it says.
    fn check(
        &self,
        first: Option<&[u8]>,
        parts: impl Iterator<Item = (u64, u64)>,
    ) -> Result<(), PageError> {
        if self
            .first_path
            .as_deref()
            .is_some_and(|expected| first != Some(expected))
        {
            return Err(PageError::Mismatch);
        }
        let (mut entries, mut bytes) = (0_u64, 0_u64);
        for (more_entries, more_bytes) in parts {
            entries = entries
                .checked_add(more_entries)
                .ok_or(PageError::Mismatch)?;
            bytes = bytes.checked_add(more_bytes).ok_or(PageError::Mismatch)?;
        }
        if (entries, bytes) == (self.entries, self.bytes) {
            Ok(())
        } else {
            Err(PageError::Mismatch)
        }
    }
}
