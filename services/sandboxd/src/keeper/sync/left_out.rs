//! What a sync did not store: how much, and a few names of it.

/// How many names are kept; the count is of all.
const NAMES_MAX: usize = 20;
/// What is kept of one name, escaped.
const NAME_MAX_BYTES: usize = 256;

/// Entries of the workspace that are in no version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    count: u64,
    names: Vec<String>,
}

impl LeftOut {
    /// Counts the entry at `path`.
    pub(super) fn add(&mut self, path: &[u8]) {
        self.count += 1;
        if self.names.len() < NAMES_MAX {
            // A path is what the agent wrote: escaped, it is one harmless word of a log.
            let mut name = path.escape_ascii().to_string();
            name.truncate(NAME_MAX_BYTES);
            self.names.push(name);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The first of them, escaped.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_named_in_harmless_words() {
        let mut left_out = LeftOut::default();
        left_out.add(b"a\n\x1b[2J\xff");
        for _ in 0..1000 {
            left_out.add(&[b'\n'; 4096]);
        }
        assert_eq!(left_out.count(), 1001);
        assert_eq!(left_out.names().len(), NAMES_MAX);
        assert_eq!(left_out.names()[0], r"a\n\x1b[2J\xff");
        assert!(
            left_out
                .names()
                .iter()
                .all(|name| name.len() <= NAME_MAX_BYTES)
        );
    }
}
