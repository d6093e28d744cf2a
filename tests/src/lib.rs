//! Stories across services, on the real binaries.
