//! What `keel-compat --helper NAME` does: the programs that exec cases start.

use crate::sc;
use std::io::Write;

/// Runs helper `args[0]`; answers the exit code.
pub fn run(args: &[String]) -> i32 {
    let mut out = std::io::stdout().lock();
    let text = match args.first().map(String::as_str) {
        Some("args") => args[1..].join("\n"),
        Some("env") => std::env::vars()
            .map(|(k, v)| format!("{k}={v}\n"))
            .collect(),
        Some("exit") => return args.get(1).and_then(|a| a.parse().ok()).unwrap_or(2),
        Some("status") => std::fs::read_to_string("/proc/self/status").unwrap_or_default(),
        Some("fds") => (0..64)
            .filter(|fd| sc!(fcntl, *fd, libc::F_GETFD).success())
            .map(|fd| format!("{fd}\n"))
            .collect(),
        Some("ids") => {
            let (mut r, mut e, mut s) = (0u32, 0u32, 0u32);
            let _ = sc!(getresuid, &raw mut r, &raw mut e, &raw mut s);
            let (mut gr, mut ge, mut gs) = (0u32, 0u32, 0u32);
            let _ = sc!(getresgid, &raw mut gr, &raw mut ge, &raw mut gs);
            format!("{r} {e} {s} {gr} {ge} {gs}")
        }
        Some("random") => {
            let at = crate::sys::auxv(libc::AT_RANDOM) as usize;
            crate::sys::peek_bytes(at, 16)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect()
        }
        Some("stack") => format!("{:#x}", crate::sys::auxv(libc::AT_RANDOM)),
        Some("pid") => std::process::id().to_string(),
        Some("auxv") => {
            let at = |k| crate::sys::auxv(k);
            format!(
                "{} {} {}",
                at(libc::AT_SECURE),
                at(libc::AT_UID),
                at(libc::AT_PAGESZ)
            )
        }
        _ => return 2,
    };
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
    0
}
