//! Process groups and sessions: setpgid(2), setsid(2) and friends, orphaned groups.

use crate::prelude::*;

pub static CASES: &[Case] = &[
    case!("setpgid getpgid getpgrp", "own_group", || {
        fork(|| {
            sc!(setpgid, 0, 0).is(0);
            sc!(getpgid, 0).is(getpid().into());
            sc!(getpgrp).is(getpid().into());
        })
        .ok();
    }),
    case!("setpgid", "parent_moves_a_child", || {
        let gate = Gate::new();
        let child = fork(|| gate.wait());
        sc!(setpgid, child.pid, 0).is(0);
        sc!(getpgid, child.pid).is(child.pid.into());
        gate.open();
        child.ok();
    }),
    case!("setpgid", "child_that_executed_is_eacces", || {
        let child = fork(|| execve("/bin/sleep", &["sleep", "60"], &[]).is(0));
        eventually("exec", || {
            text(&format!("/proc/{}/comm", child.pid)) == "sleep\n"
        });
        sc!(setpgid, child.pid, 0).err(EACCES);
        child.kill(SIGKILL);
        child.dies(SIGKILL);
    }),
    case!("setpgid", "errors", || {
        sc!(setpgid, -1, 5).err(ESRCH);
        sc!(setpgid, -1, 0).err(EINVAL);
        sc!(setpgid, 0, -1).err(EINVAL);
        sc!(setpgid, 1, 0).err(ESRCH);
        fork(|| {
            let g = fork(|| sleep_ms(50));
            g.ok();
            sc!(setpgid, 0, g.pid).err(EPERM);
        })
        .ok();
    }),
    case!("setpgid setsid", "session_leader_cannot_move", || {
        fork(|| {
            let _ = sc!(setsid).ok();
            sc!(setpgid, 0, 0).err(EPERM);
        })
        .ok();
    }),
    case!("setpgid", "group_of_another_session_is_eperm", || {
        let ready = Gate::new();
        let gate = Gate::new();
        let child = fork(|| {
            let _ = sc!(setsid).ok();
            ready.open();
            gate.wait();
        });
        ready.wait();
        fork(|| sc!(setpgid, 0, child.pid).err(EPERM)).ok();
        gate.open();
        child.ok();
    }),
    case!("setsid getsid", "new_session_and_group", || {
        fork(|| {
            sc!(setsid).is(getpid().into());
            sc!(getsid, 0).is(getpid().into());
            sc!(getpgid, 0).is(getpid().into());
            sc!(setsid).err(EPERM);
        })
        .ok();
    }),
    case!("setsid", "group_leader_is_eperm", || sc!(setsid).err(EPERM)),
    case!("getsid getpgid", "missing_process_is_esrch", || {
        sc!(getsid, 1 << 22).err(ESRCH);
        sc!(getpgid, 1 << 22).err(ESRCH);
    }),
    case!("getpgid", "groups_and_sessions_are_inherited", || {
        let (g, s) = (sc!(getpgid, 0).ok(), sc!(getsid, 0).ok());
        fork(|| {
            sc!(getpgid, 0).is(g);
            sc!(getsid, 0).is(s);
        })
        .ok();
    }),
    case!("kill", "process_group_gets_it", || {
        let ready = Gate::new();
        let kids: Vec<Child> = (0..3)
            .map(|_| {
                fork(|| {
                    ready.open();
                    sleep_ms(60_000);
                })
            })
            .collect();
        for kid in &kids {
            ready.wait();
            sc!(setpgid, kid.pid, kids[0].pid).is(0);
        }
        sc!(kill, -kids[0].pid, SIGTERM).is(0);
        for kid in kids {
            kid.dies(SIGTERM);
        }
    }),
    case!("kill", "orphaned_stopped_group_gets_hup_and_cont", || {
        let (r, w) = pipe();
        let middle = fork(|| {
            let _ = sc!(setsid).ok();
            let inner = fork(|| {
                let _ = sc!(prctl, PR_SET_PDEATHSIG, 0);
                sc!(setpgid, 0, 0).is(0);
                on_signal(SIGHUP, 0);
                on_signal(SIGCONT, 0);
                sc!(kill, getpid(), SIGSTOP).is(0);
                eventually("SIGHUP and SIGCONT", || {
                    hits(SIGHUP) == 1 && hits(SIGCONT) == 1
                });
                write_all(w, b"both");
            });
            inner.wait_for(WUNTRACED);
        });
        middle.ok();
        close(w);
        assert_eq!(read_some(r, 8), b"both");
    }),
    case!("kill", "orphaned_group_ignores_terminal_stops", || {
        fork(|| {
            let _ = sc!(setsid).ok();
            // A session leader alone is an orphaned group: SIGTSTP does not stop it.
            sc!(kill, getpid(), SIGTSTP).is(0);
        })
        .ok();
    }),
];
