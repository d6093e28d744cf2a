//! The local listener, seen from both of its ends.
