//! Checks of the processor side: clock, timer, tasks, calls between CPUs, user mode.

use alloc::sync::Arc;
use alloc::vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use keel_hal::frame::{AllocFlags, Frame};
use keel_hal::paging::{PageProt, PageTable};
use keel_hal::sync::{Completion, IrqLock};
use keel_hal::{Exception, SleepMode, Task, UserContext, UserExit};
use keel_hal::{boot, cpu, early_println, fpu, irq, rtc, task, time};

use crate::Runner;
use crate::sched::{in_parallel, sleep, spawn};

const MS: u64 = 1_000_000;

/// Runs all of them.
pub fn run(t: &mut Runner) {
    about();
    loader(t);
    clock(t);
    tasks(t);
    sleeping(t);
    calls(t);
    exceptions(t);
    system_calls(t);
    interrupts(t);
    registers(t);
    breakpoints(t);
    flags(t);
}

fn about() {
    let info = cpu::info(0);
    early_println!(
        "      {} / {}: {} flags",
        info.vendor,
        info.model_name,
        info.flags.len()
    );
    early_println!(
        "      TSC {} Hz, rtc {}, extended state {} bytes of {:#x}",
        time::tsc_hz(),
        rtc::now(),
        fpu::area_size(),
        fpu::features()
    );
    early_println!(
        "      {} CPUs up, main after {} us",
        cpu::count(),
        time::now() / 1000
    );
}

fn loader(t: &mut Runner) {
    let usable: u64 = boot::memory_map()
        .iter()
        .filter(|region| region.kind == boot::MemKind::Usable)
        .map(|region| region.end - region.start)
        .sum();
    early_println!(
        "      command line {:?}, {} KiB usable",
        boot::command_line(),
        usable >> 10
    );
    // `initrd=TEXT` says what the initial RAM disk begins with.
    let expected = boot::parameter("initrd").map(str::as_bytes);
    let found = boot::initrd().map(|disk| &disk[..disk.len().min(expected.map_or(0, <[u8]>::len))]);
    t.check("loader: initial RAM disk", expected == found);
}

fn clock(t: &mut Runner) {
    let last = Arc::new(AtomicU64::new(0));
    let back = Arc::new(AtomicUsize::new(0));
    let (l, b) = (Arc::clone(&last), Arc::clone(&back));
    in_parallel(2 * cpu::count(), move |_| {
        for _ in 0..2000 {
            let seen = l.load(Ordering::SeqCst);
            let now = time::now();
            if now < seen {
                b.fetch_add(1, Ordering::Relaxed);
            }
            l.fetch_max(now, Ordering::SeqCst);
        }
    });
    t.check("clock: never goes back", back.load(Ordering::Relaxed) == 0);

    let start = time::now();
    sleep(20 * MS);
    let slept = time::now() - start;
    t.check("timer: sleeps long enough", slept >= 20 * MS);
    t.check("timer: and not too long", slept < 200 * MS);
    early_println!("      a sleep of 20 ms took {} us", slept / 1000);

    let (rtc0, start) = (rtc::now(), time::now());
    while rtc::now() == rtc0 {
        sleep(MS);
    }
    let edge = time::now();
    while rtc::now() == rtc0 + 1 {
        sleep(MS);
    }
    let second = time::now() - edge;
    t.check(
        "clock: a second is a second",
        second.abs_diff(1000 * MS) < 30 * MS,
    );
    early_println!("      a second of the RTC took {} us", second / 1000);
    t.check(
        "rtc: this century",
        (1_700_000_000..4_000_000_000).contains(&rtc0) && start < edge,
    );
}

fn tasks(t: &mut Runner) {
    let ran = Arc::new(AtomicUsize::new(0));
    let r = Arc::clone(&ran);
    in_parallel(300, move |_| {
        task::yield_now();
        r.fetch_add(1, Ordering::Relaxed);
    });
    t.check("tasks: all ran", ran.load(Ordering::Relaxed) == 300);

    let seen = Arc::new([const { AtomicBool::new(false) }; 64]);
    let s = Arc::clone(&seen);
    in_parallel(2 * cpu::count(), move |_| {
        s[cpu::id()].store(true, Ordering::Relaxed)
    });
    t.check(
        "tasks: on all CPUs",
        (0..cpu::count()).all(|i| seen[i].load(Ordering::Relaxed)),
    );

    // Two tasks hand a ball to each other by sleeping and waking.
    const ROUNDS: usize = 20_000;
    let done = Arc::new(Completion::new());
    let ball = Arc::new(AtomicUsize::new(0));
    let start = time::now();
    let players = [Slot::new(), Slot::new()];
    for me in 0..2 {
        let (ball, done, players) = (Arc::clone(&ball), Arc::clone(&done), players.clone());
        spawn("player", move || {
            players[me].set(Arc::clone(&task::current()));
            let other = players[1 - me].wait();
            loop {
                task::prepare_sleep(SleepMode::Uninterruptible);
                let now = ball.load(Ordering::SeqCst);
                if now >= ROUNDS {
                    task::cancel_sleep();
                    break;
                }
                if now % 2 == me {
                    task::cancel_sleep();
                    ball.store(now + 1, Ordering::SeqCst);
                    other.wake();
                } else {
                    task::schedule();
                }
            }
            done.complete();
        });
    }
    done.wait();
    done.wait();
    let each = (time::now() - start) / ROUNDS as u64;
    t.check(
        "tasks: ping-pong between CPUs",
        ball.load(Ordering::Relaxed) >= ROUNDS,
    );
    early_println!("      a wake-up and switch between CPUs takes {each} ns");

    let start = time::now();
    for _ in 0..10_000 {
        task::yield_now();
    }
    early_println!(
        "      a yield with nothing else to do takes {} ns",
        (time::now() - start) / 10_000
    );

    let (user, system) = task::current().cpu_time();
    t.check(
        "tasks: time is accounted",
        user + system > 0 && user + system < time::now(),
    );
}

/// A place where one task leaves itself for another.
struct Slot(IrqLock<Option<Arc<Task>>>);

impl Slot {
    fn new() -> Arc<Slot> {
        Arc::new(Slot(IrqLock::new(None)))
    }

    fn set(&self, task: Arc<Task>) {
        *self.0.lock() = Some(task);
    }

    fn wait(&self) -> Arc<Task> {
        loop {
            if let Some(task) = self.0.lock().clone() {
                return task;
            }
            task::yield_now();
        }
    }
}

fn sleeping(t: &mut Runner) {
    let modes = [
        SleepMode::Interruptible,
        SleepMode::Killable,
        SleepMode::Uninterruptible,
    ];
    let mut right = true;
    for mode in modes {
        let woken = Arc::new(AtomicUsize::new(0));
        let w = Arc::clone(&woken);
        let sleeper = spawn("sleeper", move || {
            task::prepare_sleep(mode);
            task::schedule();
            w.store(1, Ordering::SeqCst);
        });
        let settle = |ms: u64| sleep(ms * MS);
        settle(3);
        right &= sleeper.sleep_mode() == Some(mode);
        sleeper.interrupt();
        settle(3);
        let by_interrupt = woken.load(Ordering::SeqCst) == 1;
        right &= by_interrupt == (mode == SleepMode::Interruptible);
        sleeper.kill();
        settle(3);
        let by_kill = woken.load(Ordering::SeqCst) == 1;
        right &= by_kill == (mode != SleepMode::Uninterruptible);
        sleeper.wake();
        settle(3);
        right &= woken.load(Ordering::SeqCst) == 1 && sleeper.is_dead();
    }
    t.check("sleep: each mode ends by what it should", right);

    // An announced sleep with a pending interrupt does not happen.
    let me = task::current();
    me.interrupt();
    task::prepare_sleep(SleepMode::Interruptible);
    task::schedule();
    t.check("sleep: a pending interrupt prevents it", me.interrupted());
    me.clear_interrupt();
}

fn calls(t: &mut Runner) {
    let count = AtomicUsize::new(0);
    let rounds = 1000;
    let start = time::now();
    for _ in 0..rounds {
        cpu::call_on_all(&|| _ = count.fetch_add(1, Ordering::Relaxed), true);
    }
    let each = (time::now() - start) / rounds as u64;
    t.check(
        "calls: every CPU, every time",
        count.load(Ordering::Relaxed) == rounds * cpu::count(),
    );
    early_println!("      a call on all CPUs takes {each} ns");

    let count = Arc::new(AtomicUsize::new(0));
    let c = Arc::clone(&count);
    in_parallel(cpu::count(), move |_| {
        for _ in 0..500 {
            cpu::call_on_all(&|| _ = c.fetch_add(1, Ordering::Relaxed), false);
        }
    });
    let expected = 500 * cpu::count() * (cpu::count() - 1);
    t.check(
        "calls: at each other",
        count.load(Ordering::Relaxed) == expected,
    );
    let table = irq::counts();
    t.check(
        "irq: counted",
        table
            .iter()
            .any(|row| row.label == "LOC" && row.counts[0] > 0),
    );
}

const CODE: usize = 0x40_0000;
const DATA: usize = 0x50_0000;

/// An address space with `code` at [`CODE`] and a page of data at [`DATA`], and a context at its start.
fn program(code: &[u8]) -> (Arc<PageTable>, UserContext) {
    let table = Arc::new(PageTable::new().expect("memory"));
    let text = Frame::alloc(AllocFlags::ZERO).expect("memory");
    text.write(0, code);
    let data = Frame::alloc(AllocFlags::ZERO).expect("memory");
    data.store_u64(0, 0x1234_5678_9abc_def0);
    let all = usize::MAX;
    table
        .cursor(CODE, all)
        .map(text, PageProt::READ | PageProt::EXEC)
        .expect("memory");
    table
        .cursor(DATA, all)
        .map(data, PageProt::READ | PageProt::WRITE)
        .expect("memory");
    let context = UserContext {
        rip: CODE as u64,
        rsp: (DATA + 4096) as u64,
        ..Default::default()
    };
    (table, context)
}

/// Runs until user mode ends for another reason than rescheduling.
fn run_user(context: &mut UserContext) -> UserExit {
    loop {
        match context.run() {
            UserExit::Interrupt => {
                task::current().clear_interrupt();
                task::cond_resched();
            }
            exit => return exit,
        }
    }
}

/// Runs `f` in a task whose user mode has `code`.
fn with_program(code: &'static [u8], f: impl FnOnce(&mut UserContext) + Send + 'static) {
    let done = Arc::new(Completion::new());
    let d = Arc::clone(&done);
    spawn("user", move || {
        let (table, mut context) = program(code);
        task::current().set_page_table(Some(table));
        f(&mut context);
        task::current().set_page_table(None);
        d.complete();
    });
    done.wait();
}

fn exceptions(t: &mut Runner) {
    let cases: &[(&str, &'static [u8], u8, u64, usize)] = &[
        ("divide by zero", &[0x31, 0xc9, 0xf7, 0xf1], 0, 0, 0),
        ("int3", &[0xcc], 3, 0, 0),
        ("invalid opcode", &[0x0f, 0x0b], 6, 0, 0),
        ("hlt", &[0xf4], 13, 0, 0),
        (
            "read of nothing",
            &[0x48, 0x8b, 0x04, 0x25, 0, 0x10, 0, 0],
            14,
            4,
            0x1000,
        ),
        // mov [CODE], rax
        (
            "write to code",
            &[0x48, 0x89, 0x04, 0x25, 0, 0, 0x40, 0],
            14,
            7,
            CODE,
        ),
        // mov rax, [0xffffffff80200000]
        (
            "read of the kernel",
            &[0x48, 0x8b, 0x04, 0x25, 0, 0, 0x20, 0x80],
            14,
            5,
            0xffff_ffff_8020_0000,
        ),
        // mov rax, DATA; jmp rax
        (
            "execution of data",
            &[0x48, 0xc7, 0xc0, 0, 0, 0x50, 0, 0xff, 0xe0],
            14,
            0x15,
            DATA,
        ),
        // mov rax, 1 << 63; mov rax, [rax]
        (
            "non-canonical read",
            &[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x48, 0x8b, 0],
            13,
            0,
            0,
        ),
        // mov cr3, rax
        ("privileged", &[0x0f, 0x22, 0xd8], 13, 0, 0),
    ];
    for &(name, code, vector, error_code, cr2) in cases {
        let seen = Arc::new(IrqLock::new(None));
        let s = Arc::clone(&seen);
        with_program(code, move |context| *s.lock() = Some(run_user(context)));
        let expected = UserExit::Exception(Exception {
            vector,
            error_code,
            cr2,
        });
        let ok = *seen.lock() == Some(expected);
        t.check(name, ok);
        if !ok {
            early_println!("      {:?}, not {expected:?}", *seen.lock());
        }
    }
}

fn system_calls(t: &mut Runner) {
    let ok = Arc::new(AtomicBool::new(false));
    let o = Arc::clone(&ok);
    // loop: syscall; jmp loop
    with_program(&[0x0f, 0x05, 0xeb, 0xfc], move |c| {
        c.rax = 39;
        c.rdi = 1;
        c.rsi = 2;
        c.rdx = 3;
        c.r10 = 4;
        c.r8 = 5;
        c.r9 = 6;
        (c.rbx, c.rbp, c.r12, c.r13, c.r14, c.r15) = (11, 12, 13, 14, 15, 16);
        let mut right = run_user(c) == UserExit::Syscall;
        right &= (c.rax, c.orig_rax, c.rip) == (39, 39, CODE as u64 + 2);
        right &= (c.rdi, c.rsi, c.rdx, c.r10, c.r8, c.r9) == (1, 2, 3, 4, 5, 6);
        right &= (c.rbx, c.rbp, c.r12, c.r13, c.r14, c.r15) == (11, 12, 13, 14, 15, 16);
        right &= c.rsp == (DATA + 4096) as u64 && c.rflags & 0x200 != 0;
        let start = time::now();
        for _ in 0..100_000 {
            right &= run_user(c) == UserExit::Syscall;
        }
        early_println!(
            "      a system call takes {} ns",
            (time::now() - start) / 100_000
        );
        // The slow way back: registers that SYSRET would not keep.
        (c.rcx, c.r11, c.rip) = (77, 88, CODE as u64);
        right &= run_user(c) == UserExit::Syscall;
        o.store(right, Ordering::SeqCst);
    });
    t.check("user: system calls", ok.load(Ordering::SeqCst));
}

fn interrupts(t: &mut Runner) {
    // jmp self
    static STATE: AtomicUsize = AtomicUsize::new(0);
    let started = Arc::new(Completion::new());
    let s = Arc::clone(&started);
    let spinner = spawn("spinner", move || {
        let (table, mut c) = program(&[0xeb, 0xfe]);
        task::current().set_page_table(Some(table));
        s.complete();
        loop {
            match c.run() {
                UserExit::Interrupt if task::current().interrupted() => break,
                UserExit::Interrupt => task::cond_resched(),
                _ => STATE.store(99, Ordering::SeqCst),
            }
        }
        STATE.fetch_add(1, Ordering::SeqCst);
        task::current().set_page_table(None);
    });
    started.wait();
    sleep(20 * MS);
    let before = STATE.load(Ordering::SeqCst);
    spinner.interrupt();
    sleep(20 * MS);
    t.check(
        "user: interrupted from another task",
        before == 0 && STATE.load(Ordering::SeqCst) == 1,
    );
}

/// Extended registers and segment bases survive when several tasks share the CPUs.
fn registers(t: &mut Runner) {
    // movq xmm0, rdi; vmovd does not matter; syscall; movq rax, xmm0; mov rsi, fs:[0]; syscall
    const PROGRAM: &[u8] = &[
        0x66, 0x48, 0x0f, 0x6e, 0xc7, 0x0f, 0x05, 0x66, 0x48, 0x0f, 0x7e, 0xc0, 0x64, 0x48, 0x8b,
        0x34, 0x25, 0, 0, 0, 0, 0x0f, 0x05,
    ];
    let wrong = Arc::new(AtomicUsize::new(0));
    let w = Arc::clone(&wrong);
    in_parallel(6, move |i| {
        let (table, mut c) = program(PROGRAM);
        task::current().set_page_table(Some(table));
        for round in 0..200u64 {
            let value = (i as u64) << 32 | round;
            (c.rip, c.rdi) = (CODE as u64, value);
            run_user(&mut c);
            let bases = cpu::set_fs_base(DATA as u64) && cpu::set_gs_base(value << 4);
            task::yield_now();
            if round % 16 == 0 {
                sleep(MS / 10);
            }
            run_user(&mut c);
            let right = bases
                && c.rax == value
                && c.rsi == 0x1234_5678_9abc_def0
                && (cpu::fs_base(), cpu::gs_base()) == (DATA as u64, value << 4);
            if !right {
                w.fetch_add(1, Ordering::Relaxed);
            }
        }
        task::current().set_page_table(None);
    });
    t.check(
        "user: registers are each task's own",
        wrong.load(Ordering::Relaxed) == 0,
    );

    let ok = Arc::new(AtomicBool::new(false));
    let o = Arc::clone(&ok);
    with_program(PROGRAM, move |c| {
        c.rdi = 0xabcd;
        run_user(c);
        let mut area = vec![0; fpu::area_size()];
        fpu::save_current(&mut area);
        // XMM0 is at 160 of the legacy region.
        let mut right = area[160..162] == [0xcd, 0xab];
        area[160] = 0x11;
        right &= fpu::restore_current(&area).is_ok();
        right &= cpu::set_fs_base(DATA as u64);
        run_user(c);
        right &= c.rax == 0xab11;
        area[24] = 0xff;
        area[27] = 0xff;
        right &= fpu::restore_current(&area).is_err();
        right &= fpu::restore_current(&area[..100]).is_err();
        fpu::reset_current();
        c.rip = CODE as u64 + 7;
        run_user(c);
        right &= c.rax == 0;
        right &= !cpu::set_fs_base(1 << 63);
        o.store(right, Ordering::SeqCst);
    });
    t.check(
        "user: extended registers saved, changed, refused, reset",
        ok.load(Ordering::SeqCst),
    );
}

fn breakpoints(t: &mut Runner) {
    let ok = Arc::new(AtomicBool::new(false));
    let o = Arc::clone(&ok);
    // mov [DATA + 8], rax; nop; nop; syscall
    with_program(
        &[
            0x48, 0x89, 0x04, 0x25, 8, 0, 0x50, 0, 0x90, 0x90, 0x0f, 0x05,
        ],
        move |c| {
            let me = task::current();
            // DR0: write of 8 bytes.
            let mut right = me
                .set_debug_regs([DATA as u64 + 8, 0, 0, 0], 1 | 1 << 16 | 2 << 18)
                .is_ok();
            let hit = run_user(c);
            right &= matches!(hit, UserExit::Exception(e) if e.vector == 1 && e.cr2 & 1 != 0);
            right &= c.rip == CODE as u64 + 8;
            right &= me.set_debug_regs([0; 4], 0).is_ok();
            // Single step.
            c.rflags |= 0x100;
            let step = run_user(c);
            right &= matches!(step, UserExit::Exception(e) if e.vector == 1 && e.cr2 & 0x4000 != 0);
            right &= c.rip == CODE as u64 + 9;
            c.rflags &= !0x100;
            right &= run_user(c) == UserExit::Syscall;
            right &= me.set_debug_regs([u64::MAX - 8, 0, 0, 0], 1).is_err();
            o.store(right, Ordering::SeqCst);
        },
    );
    t.check(
        "user: watchpoint and single step",
        ok.load(Ordering::SeqCst),
    );
}

/// What user code may not have is dropped or refused.
fn flags(t: &mut Runner) {
    let ok = Arc::new(AtomicBool::new(false));
    let o = Arc::clone(&ok);
    with_program(&[0x0f, 0x05, 0xeb, 0xfc], move |c| {
        // IOPL 3, IF off, VM, NT, AC, DF.
        c.rflags = 0x3000 | 1 << 17 | 1 << 14 | 1 << 18 | 1 << 10;
        let mut right = run_user(c) == UserExit::Syscall;
        right &= c.rflags & (0x3000 | 1 << 17) == 0 && c.rflags & 0x200 != 0;
        right &= c.rflags & (1 << 14 | 1 << 18 | 1 << 10) == 1 << 14 | 1 << 18 | 1 << 10;
        c.rflags = 0;
        for rip in [1 << 63, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_ffff] {
            c.rip = rip;
            right &= matches!(run_user(c), UserExit::Exception(e) if e.vector == 13);
        }
        for rip in [
            0xffff_8000_0000_0000u64,
            0xffff_ffff_8020_0000,
            0x7fff_ffff_f000,
        ] {
            c.rip = rip;
            right &= matches!(run_user(c), UserExit::Exception(e) if e.vector == 14);
        }
        (c.rip, c.rsp) = (CODE as u64, 1 << 63);
        right &= run_user(c) == UserExit::Syscall && c.rsp == 1 << 63;
        c.rcx = 5;
        right &= run_user(c) == UserExit::Syscall && c.rsp == 1 << 63;
        o.store(right, Ordering::SeqCst);
    });
    t.check(
        "user: forbidden flags, wild rip and rsp",
        ok.load(Ordering::SeqCst),
    );
}
