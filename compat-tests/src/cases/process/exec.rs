//! execve(2), execveat(2): arguments, interpreters, what survives and what does not.

use crate::prelude::*;

fn script(name: &str, content: &str) {
    put(name, content);
    sc!(chmod, cstr(name), 0o755).is(0);
}

fn exe() -> String {
    std::fs::read_link("/proc/self/exe")
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Runs `path` with `argv` and answers its output and status.
fn output(path: &str, argv: &[&str]) -> (String, Status) {
    let (r, w) = pipe();
    let child = fork(|| {
        let _ = sc!(dup2, w, 1).ok();
        execve(path, argv, &["E=1"]).is(0);
    });
    close(w);
    let mut out = Vec::new();
    loop {
        let part = read_some(r, 65536);
        if part.is_empty() {
            break;
        }
        out.extend(part);
    }
    (String::from_utf8_lossy(&out).into_owned(), child.wait())
}

pub static CASES: &[Case] = &[
    case!("execve", "arguments_arrive_unchanged", || {
        let (out, st) = exec_helper(&["args", "a b", "", "ü", "-x"], &[]);
        assert_eq!((out.as_str(), st.code()), ("a b\n\nü\n-x", Some(0)));
    }),
    case!("execve", "environment_arrives", || {
        let (out, _) = exec_helper(&["env"], &["A=1", "B=two words"]);
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort();
        assert_eq!(lines, ["A=1", "B=two words"]);
    }),
    case!("execve", "pid_is_kept", || {
        let child = fork(|| exit(exec_helper(&["pid"], &[]).1.code().unwrap_or(1)));
        child.ok();
        let (r, w) = pipe();
        let child = fork(|| {
            let _ = sc!(dup2, w, 1).ok();
            execve("/proc/self/exe", &["x", "--helper", "pid"], &[]).is(0);
        });
        child.ok();
        assert_eq!(read_some(r, 32), child.pid.to_string().as_bytes());
    }),
    case!("execve", "close_on_exec_closes", || {
        open("/dev/null", O_RDONLY | O_CLOEXEC);
        open("/dev/null", O_RDONLY);
        let (out, _) = exec_helper(&["fds"], &[]);
        let fds: Vec<&str> = out.lines().collect();
        assert!(!fds.contains(&"3") && fds.contains(&"4"), "{fds:?}");
    }),
    case!("execve", "handlers_reset_ignored_stay", || {
        on_signal(SIGUSR1, 0);
        set_disposition(SIGUSR2, SIG_IGN);
        sigmask(SIG_BLOCK, bit(SIGHUP));
        let (out, _) = exec_helper(&["status"], &[]);
        let field = |k: &str| {
            let line = out.lines().find(|l| l.starts_with(k)).unwrap_or_default();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap_or("0"), 16).unwrap_or(0)
        };
        assert_eq!(field("SigIgn:") & bit(SIGUSR2), bit(SIGUSR2));
        assert_eq!(field("SigCgt:") & bit(SIGUSR1), 0);
        assert_eq!(field("SigBlk:"), bit(SIGHUP));
    }),
    case!("execve", "name_comes_from_the_file", || {
        std::fs::copy(exe(), "a-rather-long-program-name")
            .map(|_| ())
            .unwrap_or(());
        let (out, _) = output(
            "./a-rather-long-program-name",
            &["argv0", "--helper", "status"],
        );
        assert!(
            out.starts_with("Name:\ta-rather-long-p\n"),
            "{}",
            out.lines().next().unwrap_or("")
        );
    }),
    case!("execve", "pending_signals_survive", || {
        let (out, _) = {
            sigmask(SIG_BLOCK, bit(SIGUSR1));
            let (r, w) = pipe();
            let child = fork(|| {
                let _ = sc!(dup2, w, 1).ok();
                sc!(kill, getpid(), SIGUSR1).is(0);
                execve("/proc/self/exe", &["x", "--helper", "status"], &[]).is(0);
            });
            child.ok();
            (String::from_utf8_lossy(&read_some(r, 8192)).into_owned(), 0)
        };
        let line = out
            .lines()
            .find(|l| l.starts_with("ShdPnd:"))
            .unwrap_or_default()
            .to_string();
        assert!(line.ends_with("0200"), "{line}");
    }),
    case!("execve", "errors_of_the_path", || {
        put("f", b"");
        sc!(execve, c"none", 0, 0).err(ENOENT);
        sc!(execve, c"f/x", 0, 0).err(ENOTDIR);
        sc!(execve, c"", 0, 0).err(ENOENT);
        sc!(execve, c".", 0, 0).err(EACCES);
        sc!(execve, BAD, 0, 0).err(EFAULT);
    }),
    case!(
        "execve",
        "without_execute_permission_is_eacces_even_for_root",
        || {
            put("f", b"#!/bin/sh\n");
            sc!(execve, c"f", 0, 0).err(EACCES);
        }
    ),
    case!("execve", "unknown_format_is_enoexec", || {
        script("f", "neither ELF nor script");
        sc!(execve, c"f", 0, 0).err(ENOEXEC);
        script("empty", "");
        sc!(execve, c"empty", 0, 0).err(ENOEXEC);
    }),
    case!("execve", "broken_elf_is_enoexec", || {
        let mut elf = std::fs::read(exe()).unwrap_or_default();
        elf.truncate(64);
        elf[4] = 9;
        put("f", &elf);
        sc!(chmod, c"f", 0o755).is(0);
        sc!(execve, c"f", 0, 0).err(ENOEXEC);
    }),
    case!("execve", "bad_argument_pointers_are_efault", || {
        sc!(execve, c"/proc/self/exe", BAD, 0).err(EFAULT);
        sc!(execve, c"/proc/self/exe", [BAD.addr(), 0], 0).err(EFAULT);
        sc!(execve, c"/proc/self/exe", 0, BAD).err(EFAULT);
    }),
    case!("execve", "argument_above_128_kib_is_e2big", || {
        let long = "x".repeat(131072);
        execve("/proc/self/exe", &["x", &long], &[]).err(E2BIG);
    }),
    case!("execve", "argument_of_just_under_128_kib_works", || {
        let long = "x".repeat(131071);
        let (out, st) = output("/proc/self/exe", &["x", "--helper", "args", &long]);
        assert_eq!((out.len(), st.code()), (131071, Some(0)));
    }),
    case!(
        "execve setrlimit",
        "all_arguments_above_a_quarter_stack_are_e2big",
        || {
            let limit = 1u64 << 20;
            sc!(setrlimit, RLIMIT_STACK, [limit, limit]).is(0);
            let part = "x".repeat(100_000);
            let argv = ["x", &part, &part, &part];
            execve("/proc/self/exe", &argv, &[]).err(E2BIG);
        }
    ),
    case!("execve", "thousands_of_small_arguments", || {
        let argv: Vec<String> = (0..5000).map(|i| i.to_string()).collect();
        let mut all = vec!["x", "--helper", "args"];
        all.extend(argv.iter().map(String::as_str));
        let (out, _) = output("/proc/self/exe", &all);
        assert_eq!(out.lines().count(), 5000);
    }),
    case!("execve", "script_gets_its_path_and_arguments", || {
        script("s", &format!("#!{} --helper\n", exe()));
        let (out, st) = output("./s", &["zero", "one"]);
        // argv: interpreter, "--helper", "./s", "one": the helper is called "./s".
        assert_eq!((out.as_str(), st.code()), ("", Some(2)));
        std::fs::copy("s", "args").map(|_| ()).unwrap_or(());
        script("t", "#!/bin/sh\necho \"$0|$1|$2|$#\"\n");
        assert_eq!(output("./t", &["zero", "one", "two"]).0, "./t|one|two|2\n");
    }),
    case!(
        "execve",
        "script_argument_is_one_word_with_blanks_kept",
        || {
            script("i", "#!/bin/sh\n");
            script("s", "#!/usr/bin/env  -S  echo  a   b  \n");
            if !exists("/usr/bin/env") {
                skip("no env");
            }
            assert_eq!(output("./s", &["x"]).0, "a b ./s\n");
        }
    ),
    case!("execve", "script_with_blanks_after_the_marks", || {
        script("s", "#!  \t /bin/sh\necho fine\n");
        assert_eq!(output("./s", &["x"]).0, "fine\n");
    }),
    case!(
        "execve",
        "script_without_newline_at_the_end_of_line_one",
        || {
            script("s", "#!/bin/true");
            assert_eq!(output("./s", &["x"]).1.code(), Some(0));
        }
    ),
    case!(
        "execve",
        "script_with_missing_interpreter_is_enoent",
        || {
            script("s", "#!/none/such\n");
            sc!(execve, c"./s", 0, 0).err(ENOENT);
        }
    ),
    case!("execve", "script_with_empty_interpreter_is_enoexec", || {
        script("s", "#!\necho\n");
        sc!(execve, c"./s", 0, 0).err(ENOEXEC);
        script("t", "#!   \n");
        sc!(execve, c"./t", 0, 0).err(ENOEXEC);
    }),
    case!("execve", "script_interpreter_may_be_a_script", || {
        script("inner", "#!/bin/sh\necho \"inner $1\"\n");
        let cwd = std::env::current_dir().unwrap_or_default();
        script("outer", &format!("#!{}/inner\n", cwd.display()));
        assert_eq!(output("./outer", &["x"]).0, "inner ./outer\n");
    }),
    case!("execve", "six_levels_of_scripts_are_eloop", || {
        let cwd = std::env::current_dir()
            .unwrap_or_default()
            .display()
            .to_string();
        script("s0", "#!/bin/sh\nexit 3\n");
        for i in 1..=6 {
            script(&format!("s{i}"), &format!("#!{cwd}/s{}\n", i - 1));
        }
        assert_eq!(output("./s4", &["x"]).1.code(), Some(3));
        sc!(execve, c"./s6", 0, 0).err(ELOOP);
    }),
    case!("execve", "script_line_is_cut_at_256_bytes", || {
        script("s", &format!("#!/bin/echo {}\n", "x".repeat(300)));
        // What fits behind the twelve bytes before it, less the terminator.
        assert_eq!(
            output("./s", &["x"]).0,
            format!("{} ./s\n", "x".repeat(243))
        );
        script("t", &format!("#!/{}\n", "x".repeat(300)));
        sc!(execve, c"./t", 0, 0).err(ENOEXEC);
    }),
    case!("execve", "setuid_bit_changes_the_effective_id", || {
        need_root();
        std::fs::copy(exe(), "prog").map(|_| ()).unwrap_or(());
        sc!(chown, c"prog", 1000, 1000).is(0);
        sc!(chmod, c"prog", 0o6755).is(0);
        assert_eq!(
            output("./prog", &["x", "--helper", "ids"]).0,
            "0 1000 1000 0 1000 1000"
        );
    }),
    case!("execve prctl", "no_new_privs_ignores_setuid", || {
        need_root();
        std::fs::copy(exe(), "prog").map(|_| ()).unwrap_or(());
        sc!(chown, c"prog", 1000, 1000).is(0);
        sc!(chmod, c"prog", 0o6755).is(0);
        sc!(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).is(0);
        assert_eq!(output("./prog", &["x", "--helper", "ids"]).0, "0 0 0 0 0 0");
    }),
    case!("execve", "setuid_on_scripts_is_ignored", || {
        need_root();
        script("s", "#!/bin/sh\nid -u\n");
        sc!(chown, c"s", 1000, 1000).is(0);
        sc!(chmod, c"s", 0o6755).is(0);
        let (out, _) = output("./s", &["x"]);
        assert!(out.is_empty() || out == "0\n", "{out}");
    }),
    case!("execve", "at_secure_is_set_by_setuid", || {
        need_root();
        std::fs::copy(exe(), "prog").map(|_| ()).unwrap_or(());
        sc!(chmod, c"prog", 0o4755).is(0);
        sc!(chmod, c".", 0o755).is(0);
        let (r, w) = pipe();
        let child = fork(|| {
            become_nobody();
            let _ = sc!(dup2, w, 1).ok();
            execve("./prog", &["x", "--helper", "auxv"], &[]).is(0);
        });
        child.ok();
        assert_eq!(read_some(r, 64), b"1 65534 4096");
    }),
    case!("execve", "other_threads_end", || {
        let child = fork(|| {
            for _ in 0..3 {
                std::thread::spawn(|| {
                    sleep_ms(100);
                    exit(9);
                });
            }
            execve(
                "/bin/sh",
                &["sh", "-c", "sleep 0.3; exit 5"],
                &["PATH=/bin:/usr/bin"],
            )
            .is(0);
        });
        child.exits(5);
    }),
    case!("execve", "from_a_thread_keeps_the_process_id", || {
        let (r, w) = pipe();
        let child = fork(|| {
            let _ = sc!(dup2, w, 1).ok();
            std::thread::spawn(|| {
                execve("/proc/self/exe", &["x", "--helper", "pid"], &[]).is(0);
            });
            sleep_ms(60_000);
        });
        close(w);
        assert_eq!(read_some(r, 32), child.pid.to_string().as_bytes());
        child.ok();
    }),
    case!("execve", "null_argv_is_accepted", || {
        fork(|| {
            script("s", "#!/bin/sh\nexit 4\n");
            let _ = sc!(execve, c"./s", 0, 0).errno();
        })
        .exits(4);
    }),
    case!("execveat", "relative_to_a_directory", || {
        dir("d");
        script("d/s", "#!/bin/sh\nexit 12\n");
        let d = open("d", O_PATH);
        fork(|| ignore(sc!(execveat, d, c"s", [c"s".raw(), 0], [0usize], 0).errno())).exits(12);
    }),
    case!("execveat", "empty_path_executes_the_descriptor", || {
        let fd = open(&exe(), O_RDONLY);
        let (argv, p) = vector(&["x", "--helper", "exit", "13"]);
        fork(|| ignore(sc!(execveat, fd, c"", &p, [0usize], AT_EMPTY_PATH).errno())).exits(13);
        drop(argv);
    }),
    case!("execveat", "nofollow_on_symlink_is_eloop", || {
        sc!(symlink, c"/bin/true", c"l").is(0);
        sc!(execveat, AT_FDCWD, c"l", 0, 0, AT_SYMLINK_NOFOLLOW).err(ELOOP);
        sc!(execveat, AT_FDCWD, c"l", 0, 0, 0x8).err(EINVAL);
        sc!(execveat, 99, c"l", 0, 0, 0).err(EBADF);
    }),
    case!("execveat", "script_by_closing_descriptor_is_enoent", || {
        script("s", "#!/bin/sh\nexit 1\n");
        let fd = open("s", O_RDONLY | O_CLOEXEC);
        sc!(execveat, fd, c"", 0, 0, AT_EMPTY_PATH).err(ENOENT);
    }),
    case!("execve", "auxv_names_the_page_size", || {
        assert_eq!(auxv(AT_PAGESZ), 4096);
        assert_eq!(auxv(AT_CLKTCK), 100);
        assert_ne!(auxv(AT_RANDOM), 0);
        assert_ne!(auxv(AT_PHDR), 0);
        assert_eq!(auxv(AT_UID), sc!(getuid).ok() as u64);
    }),
    case!("execve", "random_bytes_differ_between_programs", || {
        let (a, b) = (
            exec_helper(&["random"], &[]).0,
            exec_helper(&["random"], &[]).0,
        );
        assert!(a.len() == 32 && a != b, "{a} {b}");
    }),
    case!("execve", "addresses_are_randomised", || {
        if text("/proc/sys/kernel/randomize_va_space").trim() == "0" {
            skip("switched off on this machine");
        }
        let runs: std::collections::HashSet<String> =
            (0..4).map(|_| exec_helper(&["stack"], &[]).0).collect();
        assert!(runs.len() >= 3, "{runs:?}");
    }),
    case!(
        "execve personality",
        "no_randomize_gives_the_same_addresses",
        || {
            let _ = sc!(personality, ADDR_NO_RANDOMIZE).ok();
            assert_eq!(
                exec_helper(&["stack"], &[]).0,
                exec_helper(&["stack"], &[]).0
            );
        }
    ),
];
