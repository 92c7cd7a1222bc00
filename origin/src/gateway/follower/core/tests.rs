//! The rules of a follower's core, one test each.
