//! How calls print, with the text that strace prints for the same arguments.

use keel_abi::table;
use keel_abi::trace::{NoUserText, UserText};
use keel_abi::{Errno, Result};

/// User memory with one string in it.
struct Text(u64, &'static [u8]);

impl UserText for Text {
    fn read_text(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        let start = at.checked_sub(self.0).ok_or(Errno::EFAULT)? as usize;
        let rest = self.1.get(start..).ok_or(Errno::EFAULT)?;
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

fn call(name: &str, regs: &[i64], mem: &dyn UserText) -> String {
    let mut all = [0; 6];
    for (reg, value) in all.iter_mut().zip(regs) {
        *reg = value.cast_unsigned();
    }
    let mut out = String::new();
    table::by_name(name)
        .unwrap()
        .trace_call(&all, &mut out, mem)
        .unwrap();
    out
}

fn plain(name: &str, regs: &[i64]) -> String {
    call(name, regs, &NoUserText)
}

fn ret(name: &str, value: i64) -> String {
    let mut out = String::new();
    (table::by_name(name).unwrap().trace_ret)(value.cast_unsigned(), &mut out).unwrap();
    out
}

#[test]
fn paths_and_flags() {
    let path = Text(0x1000, b"/etc/\"x\"\n\xc3");
    assert_eq!(
        call("openat", &[-100, 0x1000, 0x80000, 0], &path),
        r#"openat(AT_FDCWD, "/etc/\"x\"\n\303", O_RDONLY|O_CLOEXEC, 000)"#
    );
    assert_eq!(
        call("openat", &[3, 0x1000, 0o1101, 0o644], &path),
        r#"openat(3, "/etc/\"x\"\n\303", O_WRONLY|O_CREAT|O_TRUNC, 0644)"#
    );
    assert_eq!(
        plain("openat", &[-1, 0x2000, 2, 0]),
        "openat(-1, 0x2000, O_RDWR, 000)"
    );
    assert_eq!(plain("access", &[0, 4]), "access(NULL, R_OK)");
    assert_eq!(plain("access", &[0, 0]), "access(NULL, F_OK)");
    assert_eq!(
        plain("mknod", &[0, 0o20600, 0x501]),
        "mknod(NULL, S_IFCHR|0600, 1281)"
    );
}

#[test]
fn long_strings_are_read_in_pieces() {
    let long: &'static [u8] = Box::leak(vec![b'a'; 200].into_boxed_slice());
    let text = call("chdir", &[0x1000], &Text(0x1000, long));
    assert_eq!(text, format!("chdir(\"{}\")", "a".repeat(200)));
    let endless: &'static [u8] = Box::leak(vec![b'a'; 10_000].into_boxed_slice());
    let text = call("chdir", &[0x1000], &Text(0x1000, endless));
    assert_eq!(text, format!("chdir(\"{}\"...)", "a".repeat(4096)));
}

#[test]
fn memory_calls() {
    assert_eq!(
        plain("mmap", &[0, 8192, 3, 0x22, -1, 0]),
        "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)"
    );
    assert_eq!(
        plain("mmap", &[0x40_0000, 4096, 0, 0x1052, 3, 0x1000]),
        "mmap(0x400000, 4096, PROT_NONE, MAP_PRIVATE|MAP_FIXED|MAP_32BIT|MAP_EXECUTABLE, 3, 0x1000)"
    );
    assert_eq!(
        plain("mprotect", &[0, 1, 0x100]),
        "mprotect(NULL, 1, 0x100)"
    );
    assert_eq!(ret("mmap", 0x7fff_f7dc_0000), "0x7ffff7dc0000");
    assert_eq!(ret("mmap", -12), "-1 ENOMEM (Cannot allocate memory)");
}

#[test]
fn processes_and_signals() {
    assert_eq!(
        plain("clone", &[0x0120_0011, 0, 0, 0, 0]),
        "clone(CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, NULL, NULL, NULL, 0)"
    );
    assert_eq!(plain("clone", &[17]), "clone(SIGCHLD, NULL, NULL, NULL, 0)");
    assert_eq!(
        plain("unshare", &[0x2000_0080]),
        "unshare(CLONE_NEWPID|CLONE_NEWTIME)"
    );
    assert_eq!(plain("kill", &[-1, 0]), "kill(-1, 0)");
    assert_eq!(plain("tgkill", &[7, 8, 33]), "tgkill(7, 8, SIGRT_1)");
    assert_eq!(
        plain("wait4", &[-1, 0, 3, 0]),
        "wait4(-1, NULL, WNOHANG|WUNTRACED, NULL)"
    );
    assert_eq!(
        plain("futex", &[0x1000, 0x189, 2, 0, 0, -1]),
        "futex(0x1000, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 2, NULL, NULL, 4294967295)"
    );
    assert_eq!(plain("chown", &[0, -1, 0]), "chown(NULL, -1, 0)");
    assert_eq!(
        ret("read", -512),
        "? ERESTARTSYS (Restart the call if the handler has SA_RESTART, or if there is none)"
    );
}

#[test]
fn sockets_and_numbers() {
    assert_eq!(
        plain("socket", &[1, 0x80001, 0]),
        "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0)"
    );
    assert_eq!(plain("socket", &[99, 15, 6]), "socket(99, 15, 6)");
    assert_eq!(
        plain("ioctl", &[0, 0x5401, 0x1000]),
        "ioctl(0, TCGETS, 0x1000)"
    );
    assert_eq!(
        plain("ioctl", &[0, 0x1234_5678, 1]),
        "ioctl(0, 0x12345678, 1)"
    );
    assert_eq!(plain("getpid", &[]), "getpid()");
    assert_eq!(ret("umask", 0o22), "022");
    assert_eq!(ret("close", 0), "0");
}

#[test]
fn every_call_prints_whatever_the_registers_hold() {
    for row in &table::SYSCALLS {
        for value in [0, 1, -1, i64::MAX, i64::MIN, 0x1234_5678_9abc_def0] {
            let text = plain(row.name, &[value; 6]);
            let commas = text.matches(", ").count() - text.matches("QCMD(").count();
            assert_eq!(commas, row.args.len().saturating_sub(1), "{text}");
            assert!(!ret(row.name, value).is_empty());
        }
    }
}
