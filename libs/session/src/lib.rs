//! What gate, token and sandboxd must agree on: claims, verification, tickets, links.
