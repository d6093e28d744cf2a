//! Records of decisions: hash-chained, in local segments that survive the process.
