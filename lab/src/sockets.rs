//! What this process holds, as Linux tells it.

use std::fs;

/// How many TCP connections lead from this machine to a loopback port: those that are up, or half way to it.
///
/// # Panics
/// When the system does not tell.
#[must_use]
pub fn connections_to(port: u16) -> usize {
    // proc(5): `rem_address` is the third column, in hexadecimal, `st` the fourth: 01 ESTABLISHED, 02 SYN_SENT,
    // 08 CLOSE_WAIT.
    let remote = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[2] == remote && matches!(row[3], "01" | "02" | "08")).count()
}

/// How many file descriptors this process has.
///
/// # Panics
/// When the system does not tell.
#[must_use]
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How much memory of this process is in use, in KiB.
///
/// # Panics
/// When the system does not tell.
#[must_use]
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
