//! How every service of the mesh serves and calls: layers, deadlines, identities, faults, shutdown.
