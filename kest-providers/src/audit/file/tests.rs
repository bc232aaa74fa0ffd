//! Each step of the disk fails once.
