//! Process set-up that needs unsafe, alone: namespaces, limits, filters, terminals.
