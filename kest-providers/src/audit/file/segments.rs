//! Names of segments, and what stands in a folder.

use std::fs;
use std::io;
use std::path::Path;

/// Name of a segment.
pub(in crate::audit) fn name(number: u64) -> String {
    format!("{number:010}.jsonl")
}

/// Numbers of the segments in a folder, in order.
pub(in crate::audit) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.file_name();
        let number = file.to_str().and_then(|text| text.strip_suffix(".jsonl"));
        let number = number.and_then(|digits| digits.parse::<u64>().ok());
        all.extend(number.filter(|number| name(*number).as_str() == file));
    }
    all.sort_unstable();
    Ok(all)
}
