//! This machine, and which of its processes are alive.

/// The machine's network name.
pub fn name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    // The name becomes part of file names.
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    if name.is_empty() { "unnamed".into() } else { name }
}

/// Identifies what process numbers refer to: on Linux one boot of a machine and its namespace,
/// since containers and cloned machines may share a name; elsewhere the name.
pub fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = std::fs::read_link("/proc/self/ns/pid");
    match (boot, namespace) {
        (Ok(boot), Ok(namespace)) => format!("{} {}", boot.trim(), namespace.display()),
        _ => name(),
    }
}

/// Seconds since this machine started, asleep or not; none if the system does not report it.
pub fn uptime_s() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Whether a process of this machine is alive; true if that is unknown.
#[cfg(unix)]
pub fn is_alive(pid: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_none_or(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// Whether a process of this machine is alive; true if that is unknown.
#[cfg(not(unix))]
pub fn is_alive(_: u32) -> bool {
    true
}
