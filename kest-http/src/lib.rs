//! Lineage across the wire. Spec §12.
