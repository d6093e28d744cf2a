//! The storage-sync service.
