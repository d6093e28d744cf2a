//! The auth-gateway service.
