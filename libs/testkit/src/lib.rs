//! What tests share: a clock to move, a fresh database, services joined without ports, captured events.
