//! Paths below a workspace: raw bytes, each component a plain name.
//!
//! Linux allows any byte but NUL and `/` in a name, and agents use all of them; so a path is never text.
//! A [`TreePath`] cannot climb: no component is empty, `.` or `..`.

use std::fmt;

use sandgate_types::Malformed;

/// The longest path in bytes, as `PATH_MAX` has it.
pub const PATH_MAX_BYTES: usize = 4096;
/// The longest component in bytes, as `NAME_MAX` has it.
pub const NAME_MAX_BYTES: usize = 255;
/// The most components: each costs a descriptor while a tree is removed, and nobody nests files so deep by hand.
pub const DEPTH_MAX: usize = 256;

/// A path below the root of a tree; the empty one is the root itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root of the tree.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Reads a path of at least one component from the request field `field`.
    ///
    /// # Errors
    /// The field and the rule that the path breaks.
    pub fn parse(field: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        let refuse = |rule: &str| Err(Malformed::new(field, rule));
        if bytes.is_empty() {
            return refuse("must not be empty");
        }
        if bytes.len() > PATH_MAX_BYTES {
            return refuse("must have at most 4096 bytes");
        }
        let mut depth = 0;
        for name in bytes.split(|byte| *byte == b'/') {
            check_name(name).map_err(|rule| Malformed::new(field, rule))?;
            depth += 1;
        }
        if depth > DEPTH_MAX {
            return refuse("must have at most 256 components");
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Reads a path as [`TreePath::parse`] does, and takes the empty one for the root.
    ///
    /// # Errors
    /// The field and the rule that the path breaks.
    pub fn parse_or_root(field: &str, bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            Ok(Self::root())
        } else {
            Self::parse(field, bytes)
        }
    }

    /// The path of `name` in this directory.
    ///
    /// # Errors
    /// The rule that the name or the longer path breaks.
    pub fn join(&self, name: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = self.0.clone();
        if !self.is_root() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::parse("path", &bytes)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The raw bytes; empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The raw bytes, taken out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The directory that holds this path; the root has none.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self
            .0
            .iter()
            .rposition(|byte| *byte == b'/')
            .map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// Every directory above this path, the outermost first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| Self(self.0[..at].to_vec()))
    }

    /// How many components it has.
    pub fn depth(&self) -> usize {
        if self.is_root() {
            0
        } else {
            1 + self.0.iter().filter(|byte| **byte == b'/').count()
        }
    }

    /// Whether this path lies below `directory`, at any depth.
    pub fn is_below(&self, directory: &Self) -> bool {
        if directory.is_root() {
            return !self.is_root();
        }
        self.0.len() > directory.0.len()
            && self.0.starts_with(&directory.0)
            && self.0[directory.0.len()] == b'/'
    }
}

/// Says which rule of a component `name` breaks.
fn check_name(name: &[u8]) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("must not have an empty component");
    }
    if name == b"." || name == b".." {
        return Err("must not have a component '.' or '..'");
    }
    if name.len() > NAME_MAX_BYTES {
        return Err("must have components of at most 255 bytes");
    }
    if name.contains(&0) {
        return Err("must not contain NUL");
    }
    Ok(())
}

/// Escaped, so that a name with a newline or a terminal's control sequence stays one harmless word of a log.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreePath({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse("path", text.as_bytes()).expect("valid")
    }

    #[test]
    fn newlines_and_bytes_that_are_no_text_are_names() {
        for bytes in [
            &b"a\nb"[..],
            b"\xff\xfe",
            b"...",
            b"a b",
            b"..a",
            &[b'x'; NAME_MAX_BYTES],
        ] {
            assert_eq!(
                TreePath::parse("path", bytes).expect("valid").as_bytes(),
                bytes
            );
        }
    }

    #[test]
    fn what_could_climb_or_confuse_is_refused_by_field_and_rule() {
        let long = [b'x'; NAME_MAX_BYTES + 1];
        let deep = "a/".repeat(DEPTH_MAX) + "a";
        let endless = "abcdefg/".repeat(600) + "a";
        for bytes in [
            &b""[..],
            b"/a",
            b"a/",
            b"a//b",
            b".",
            b"..",
            b"a/../b",
            b"a/./b",
            b"a\0b",
            &long,
            deep.as_bytes(),
            endless.as_bytes(),
        ] {
            let malformed = TreePath::parse("path", bytes).expect_err("refused");
            assert_eq!(malformed.field(), "path");
        }
    }

    #[test]
    fn a_path_knows_what_is_above_it() {
        let deep = path("a/b/c");
        assert_eq!(
            deep.ancestors().collect::<Vec<_>>(),
            [path("a"), path("a/b")]
        );
        assert_eq!(deep.parent(), Some(path("a/b")));
        assert_eq!(path("a").parent(), Some(TreePath::root()));
        assert_eq!(TreePath::root().parent(), None);
        assert_eq!(deep.name(), b"c");
        assert_eq!(deep.depth(), 3);
    }

    #[test]
    fn a_sibling_that_begins_alike_is_not_below() {
        assert!(path("a/b").is_below(&path("a")));
        assert!(!path("a-b").is_below(&path("a")));
        assert!(!path("a").is_below(&path("a")));
        assert!(path("a").is_below(&TreePath::root()));
    }

    proptest! {
        #[test]
        fn whatever_parses_has_only_plain_components(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(path) = TreePath::parse("path", &bytes) {
                for name in path.as_bytes().split(|byte| *byte == b'/') {
                    prop_assert!(check_name(name).is_ok());
                }
            }
        }
    }
}
