//! Running a program (execve(2)): from a path to the first instruction.
//!
//! The plan is made by `keel-ld-support`; here it is carried out: a new address space is filled while the old
//! one still runs, so that most failures leave the caller as it was.

use core::sync::atomic::Ordering;
use keel_abi::args::{DirFd, UserPtr, UserStr};
use keel_abi::flags::AtFlags;
use keel_hal::paging::PageProt;
use keel_hal::task;
use keel_ld_support::ReadAt;
use keel_ld_support::args::ExecArgs;
use keel_ld_support::aslr::{AddressLayout, Config};
use keel_ld_support::elf::{ExecStack, HEAD_SIZE, Kill, LoadPlan, Prot};
use keel_ld_support::script::Script;
use keel_ld_support::stack::{AuxInputs, HWCAP2_FSGSBASE, StackPlan, StackSink};

use super::rlimit::Resource;
use super::{Cred, Thread, cred};
use crate::fs::File;
use crate::mm::{self, AddressSpace, Backing, MapRequest, VmFlags};
use crate::prelude::*;
use crate::syscall::Ctx;

/// How often a `#!` interpreter may itself be a script (ELOOP beyond).
const MAX_SCRIPT_DEPTH: usize = 5;
/// personality(2): no address randomisation.
const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;
/// personality(2): reading implies executing.
const READ_IMPLIES_EXEC: u32 = 0x0040_0000;
/// `randomize_va_space` (proc(5)): 0 off, 1 stack and mmap, 2 the heap too.
pub static RANDOMIZE_VA_SPACE: core::sync::atomic::AtomicU32 =
    core::sync::atomic::AtomicU32::new(2);

struct FileReader<'a>(&'a Arc<File>);

impl ReadAt for FileReader<'_> {
    fn read_at(&self, off: u64, buf: &mut [u8]) -> Result<usize> {
        self.0.read_at_kernel(off, buf)
    }
}

/// A program that could be loaded: what it takes to do so.
struct Program {
    file: Arc<File>,
    plan: LoadPlan,
    interp: Option<(Arc<File>, core::result::Result<LoadPlan, Kill>)>,
    args: ExecArgs,
    /// The file whose set-id bits count.
    comm: Vec<u8>,
}

/// execveat(2). On success the caller's registers are those of the new program.
pub fn execve(
    cx: &mut Ctx,
    dirfd: DirFd,
    path: &[u8],
    argv: UserPtr<UserStr>,
    envp: UserPtr<UserStr>,
    flags: AtFlags,
) -> Result<()> {
    let file = crate::fs::open_exec(cx.thread, dirfd, path, flags)?;
    let execfn = exec_name(dirfd, path);
    let stack_limit = cx.thread.process.rlimits.soft(Resource::Stack);
    let args = read_args(&execfn, argv, envp, stack_limit)?;
    let closes = closes_on_exec(cx.thread, dirfd, path);
    let program = prepare(cx.thread, file, args, basename(path), closes)?;
    run(cx, program)
}

/// Whether the path by which an interpreter would open a script goes with the descriptor that it starts from.
fn closes_on_exec(thread: &Thread, dirfd: DirFd, path: &[u8]) -> bool {
    !path.starts_with(b"/")
        && dirfd
            .fd()
            .is_some_and(|fd| thread.files().cloexec(fd).unwrap_or(false))
}

/// Runs the first program: strings come from the kernel.
pub fn exec_init(cx: &mut Ctx, path: &[u8], argv: &[Vec<u8>], envp: &[Vec<u8>]) -> Result<()> {
    let file = crate::fs::open_exec(cx.thread, DirFd::CWD, path, AtFlags::empty())?;
    let mut args = ExecArgs::new(path, argv.len(), envp.len(), 8 << 20)?;
    argv.iter().try_for_each(|arg| args.push_arg(arg))?;
    envp.iter().try_for_each(|env| args.push_env(env))?;
    let program = prepare(cx.thread, file, args, basename(path), false)?;
    run(cx, program)
}

/// The name a program sees as AT_EXECFN: the path, or `/dev/fd/N/path` for a descriptor.
fn exec_name(dirfd: DirFd, path: &[u8]) -> Vec<u8> {
    match dirfd.fd() {
        Some(fd) if !path.starts_with(b"/") => {
            let mut name = format!("/dev/fd/{}", fd.0).into_bytes();
            if !path.is_empty() {
                name.push(b'/');
                name.extend_from_slice(path);
            }
            name
        }
        _ => path.to_vec(),
    }
}

fn basename(path: &[u8]) -> Vec<u8> {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path).to_vec()
}

/// Copies argument and environment strings from the caller: EFAULT, E2BIG.
fn read_args(
    execfn: &[u8],
    argv: UserPtr<UserStr>,
    envp: UserPtr<UserStr>,
    stack_limit: u64,
) -> Result<ExecArgs> {
    let argv = read_pointers(argv)?;
    let envp = read_pointers(envp)?;
    let mut args = ExecArgs::new(execfn, argv.len().max(1), envp.len(), stack_limit)?;
    let mut string = Vec::new();
    for pointer in &argv {
        read_string(*pointer, &mut string)?;
        args.push_arg(&string)?;
    }
    if argv.is_empty() {
        // Linux gives programs an empty argv[0] rather than argc 0.
        args.push_arg(b"")?;
    }
    for pointer in &envp {
        read_string(*pointer, &mut string)?;
        args.push_env(&string)?;
    }
    Ok(args)
}

/// Longest single string, its NUL included (`MAX_ARG_STRLEN`).
const MAX_ARG_STRLEN: usize = 32 * PAGE_SIZE;
/// Most strings of either kind (`MAX_ARG_STRINGS` is higher than memory for them allows).
const MAX_ARG_STRINGS: usize = 1 << 20;

fn read_pointers(list: UserPtr<UserStr>) -> Result<Vec<u64>> {
    let mut pointers = Vec::new();
    if list.is_null() {
        return Ok(pointers);
    }
    let mut addr = list.addr() as usize;
    loop {
        let pointer: u64 = keel_hal::user::read_obj(addr).map_err(|_| Errno::EFAULT)?;
        if pointer == 0 {
            return Ok(pointers);
        }
        if pointers.len() >= MAX_ARG_STRINGS {
            return Err(Errno::E2BIG);
        }
        pointers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        pointers.push(pointer);
        addr = addr.checked_add(8).ok_or(Errno::EFAULT)?;
    }
}

fn read_string(pointer: u64, out: &mut Vec<u8>) -> Result<()> {
    use keel_hal::user::CStrEnd;
    out.clear();
    match keel_hal::user::read_cstr(pointer as usize, MAX_ARG_STRLEN, out) {
        Ok(CStrEnd::Found) => Ok(()),
        Ok(CStrEnd::TooLong) => Err(Errno::E2BIG),
        Err(_) => Err(Errno::EFAULT),
    }
}

/// Follows `#!` lines to an ELF file and plans its loading. ENOENT for a script whose path `closes` before its
/// interpreter could open it.
fn prepare(
    thread: &Arc<Thread>,
    mut file: Arc<File>,
    mut args: ExecArgs,
    comm: Vec<u8>,
    closes: bool,
) -> Result<Program> {
    let mut path = args.execfn().to_vec();
    for depth in 0.. {
        let mut head = vec![0; HEAD_SIZE];
        let len = read_head(&file, &mut head)?;
        head.truncate(len);
        let Some(script) = Script::parse(&head)? else {
            let plan = LoadPlan::program(&head, &FileReader(&file))?;
            let interp = match &plan.interp {
                Some(path) => Some(open_interpreter(thread, path)?),
                None => None,
            };
            return Ok(Program {
                file,
                plan,
                interp,
                args,
                comm,
            });
        };
        if closes && depth == 0 {
            return Err(Errno::ENOENT);
        }
        if depth >= MAX_SCRIPT_DEPTH {
            return Err(Errno::ELOOP);
        }
        script.rewrite(&path, &mut args)?;
        file = crate::fs::open_exec(thread, DirFd::CWD, &script.interp, AtFlags::empty())?;
        path = script.interp;
    }
    Err(Errno::ELOOP)
}

fn read_head(file: &Arc<File>, head: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < head.len() {
        match file.read_at_kernel(done as u64, &mut head[done..])? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

fn open_interpreter(
    thread: &Arc<Thread>,
    path: &[u8],
) -> Result<(Arc<File>, core::result::Result<LoadPlan, Kill>)> {
    let file = crate::fs::open_exec(thread, DirFd::CWD, path, AtFlags::empty())?;
    let plan = LoadPlan::interpreter(&FileReader(&file))?;
    Ok((file, plan))
}

/// Where the program begins, and what /proc tells of it.
struct Image {
    mm: Arc<AddressSpace>,
    entry: u64,
    rsp: u64,
    auxv: Vec<u64>,
}

/// Replaces the caller's program. Past the first failure to map, the process is killed, as on Linux.
fn run(cx: &mut Ctx, program: Program) -> Result<()> {
    let thread = cx.thread;
    let old_cred = thread.cred();
    let (new_cred, secure) = cred_for(thread, &old_cred, &program.file)?;
    let mm = AddressSpace::new()?;
    if let Some(old) = thread.mm_opt() {
        mm.inherit(&old);
    }
    let old_tid = thread.tid();
    kill_other_threads(thread)?;
    let image = match load(thread, &mm, &program, &new_cred, secure) {
        Ok(image) => image,
        Err(Kill(error)) => {
            log::debug!(
                "exec of {:?} failed past the point of no return: {error:?}",
                program.comm
            );
            super::do_group_exit(thread, 9);
            return Err(error);
        }
    };
    install(cx, program, image, new_cred, &old_cred, secure);
    super::ptrace::exec_event(cx, old_tid);
    Ok(())
}

/// Ends all other threads; the caller takes over the leader's number.
fn kill_other_threads(thread: &Arc<Thread>) -> Result<()> {
    let process = &thread.process;
    if process.group_exiting() || process.exec_in_progress.swap(true, Ordering::AcqRel) {
        return Err(Errno::EAGAIN);
    }
    for other in process.threads() {
        if !Arc::ptr_eq(&other, thread) {
            other.request_exit(0);
            other.kill();
        }
    }
    let alone = process.thread_gone.wait(SleepMode::Killable, None, || {
        (process.thread_count() == 1).then_some(())
    });
    process.exec_in_progress.store(false, Ordering::Release);
    if alone.is_err() {
        return Err(Errno::EAGAIN);
    }
    if !thread.is_leader() {
        let old = thread.tid();
        super::pid::remove_thread(old);
        thread.set_tid(process.pid);
        super::pid::insert_thread(thread);
        let leader = process.leader();
        process.set_leader(thread);
        if let Some(leader) = leader {
            super::ptrace::exec_replaced(&leader);
        }
    }
    Ok(())
}

fn load(
    thread: &Arc<Thread>,
    mm: &Arc<AddressSpace>,
    program: &Program,
    cred: &Cred,
    secure: bool,
) -> core::result::Result<Image, Kill> {
    let personality = thread.personality.load(Ordering::Relaxed);
    let randomize = RANDOMIZE_VA_SPACE.load(Ordering::Relaxed);
    let mut random = crate::random::u64;
    let layout = AddressLayout::choose(
        &Config {
            randomize: randomize > 0 && personality & ADDR_NO_RANDOMIZE == 0,
            randomize_brk: randomize > 1,
            legacy: false,
            rlim_stack: thread.process.rlimits.soft(Resource::Stack),
            mmap_rnd_bits: 28,
        },
        &mut random,
    );
    mm.set_limits(limits_of(thread));
    mm.update_layout(|l| l.mmap_base = layout.mmap_base as usize);
    let plan = &program.plan;
    let exec_stack = plan.exec_stack == ExecStack::Enable;
    let stack_prot = if exec_stack {
        PageProt::READ | PageProt::WRITE | PageProt::EXEC
    } else {
        PageProt::READ | PageProt::WRITE
    };
    let bias = match plan.elf_type {
        keel_ld_support::elf::ElfType::Exec => 0,
        keel_ld_support::elf::ElfType::Dyn if program.interp.is_some() => {
            plan.pie_bias(layout.pie_base)
        }
        keel_ld_support::elf::ElfType::Dyn => free_bias(mm, plan)?,
    };
    map_image(mm, &program.file, plan, bias)?;
    let marks = plan.marks(bias);
    let (entry, base) = match &program.interp {
        None => (plan.entry(bias)?, 0),
        Some((file, interp)) => {
            let interp = interp.as_ref().map_err(|kill| Kill(kill.0))?;
            let interp_bias = free_bias(mm, interp)?;
            map_image(mm, file, interp, interp_bias)?;
            (interp.entry(interp_bias)?, interp_bias)
        }
    };
    let vdso = crate::time::vdso::map(mm).map_err(Kill)?;
    let aux = AuxInputs {
        sysinfo_ehdr: Some(vdso as u64),
        minsigstksz: super::signal::min_stack_size() as u64,
        hwcap: u64::from(keel_hal::cpu::cpuid(1, 0)[3]),
        hwcap2: HWCAP2_FSGSBASE,
        phdr: plan.phdr_addr(bias),
        phnum: u64::from(plan.phnum),
        base,
        flags: 0,
        entry: plan.entry(bias)?,
        uid: cred.uid,
        euid: cred.euid,
        gid: cred.gid,
        egid: cred.egid,
        secure,
        random: crate::random::bytes(),
        execfd: None,
        rseq_feature_size: 20,
        rseq_align: 32,
    };
    let stack = StackPlan::new(&program.args, &aux, layout.stack_top, layout.stack_shuffle)
        .map_err(Kill)?;
    map_stack(mm, &stack, layout.stack_top, stack_prot)?;
    stack
        .write(&program.args, &mut RemoteSink(mm))
        .map_err(Kill)?;
    let in_mmap_area =
        program.interp.is_none() && plan.elf_type == keel_ld_support::elf::ElfType::Dyn;
    let brk = layout.start_brk(marks.start_brk, in_mmap_area, &mut random) as usize;
    mm.update_layout(|l| {
        l.start_code = marks.start_code as usize;
        l.end_code = marks.end_code as usize;
        l.start_data = marks.start_data as usize;
        l.end_data = marks.end_data as usize;
        l.start_brk = brk;
        l.brk = brk;
        l.start_stack = stack.rsp as usize;
        l.arg_start = stack.arg_start as usize;
        l.arg_end = stack.arg_end as usize;
        l.env_start = stack.env_start as usize;
        l.env_end = stack.env_end as usize;
        l.vdso = vdso;
    });
    Ok(Image {
        mm: mm.clone(),
        entry,
        rsp: stack.rsp,
        auxv: stack.auxv,
    })
}

/// The process's limits that mapping calls enforce.
pub fn limits_of(thread: &Thread) -> mm::MmLimits {
    let limits = &thread.process.rlimits;
    mm::MmLimits {
        address_space: limits.soft(Resource::As),
        data: limits.soft(Resource::Data),
        stack: limits.soft(Resource::Stack),
        memlock: limits.soft(Resource::Memlock),
    }
}

/// The bias that puts an image where the memory map has room for it.
fn free_bias(mm: &Arc<AddressSpace>, plan: &LoadPlan) -> core::result::Result<u64, Kill> {
    let span = plan.span()?;
    let mut request = MapRequest::anonymous(span.len as usize, PageProt::empty());
    // A larger alignment than a page needs room to move up in.
    let align = plan.align.max(PAGE_SIZE as u64) as usize;
    request.len += align - PAGE_SIZE;
    let len = request.len;
    let addr = mm.mmap(request).map_err(Kill)?;
    mm.munmap(addr, len).map_err(Kill)?;
    Ok(plan.bias_at(((addr + align - 1) & !(align - 1)) as u64))
}

fn map_image(
    mm: &Arc<AddressSpace>,
    file: &Arc<File>,
    plan: &LoadPlan,
    bias: u64,
) -> core::result::Result<(), Kill> {
    let object = file.ops.mmap(file).map_err(Kill)?;
    for segment in plan.mappings(bias)? {
        if let Some(part) = segment.file {
            let mut request = MapRequest::anonymous(part.len as usize, protection(part.prot));
            request.addr = part.addr as usize;
            request.fixed = true;
            request.backing = Backing::Object {
                object: object.clone(),
                pgoff: part.offset >> PAGE_SHIFT,
                file: Some(file.clone()),
            };
            mm.mmap(request).map_err(Kill)?;
        }
        if let Some(anon) = segment.anon {
            let mut request = MapRequest::anonymous(anon.len as usize, protection(anon.prot));
            request.addr = anon.addr as usize;
            request.fixed = true;
            mm.mmap(request).map_err(Kill)?;
        }
        if let Some(zero) = segment.zero {
            let zeroes = vec![0; zero.len as usize];
            if mm.write_remote(zero.addr as usize, &zeroes, false) < zeroes.len() {
                return Err(Kill(Errno::EFAULT));
            }
        }
    }
    Ok(())
}

fn protection(prot: Prot) -> PageProt {
    let mut flags = PageProt::empty();
    flags.set(PageProt::READ, prot.read);
    flags.set(PageProt::WRITE, prot.write);
    flags.set(PageProt::EXEC, prot.exec);
    flags
}

/// Room that the stack starts with below what it holds (Linux: 128 KiB).
const STACK_EXTRA: usize = 128 << 10;

fn map_stack(
    mm: &Arc<AddressSpace>,
    stack: &StackPlan,
    top: u64,
    prot: PageProt,
) -> core::result::Result<(), Kill> {
    let start = (stack.first_page() as usize).saturating_sub(STACK_EXTRA);
    let mut request = MapRequest::anonymous(top as usize - start, prot);
    request.addr = start;
    request.fixed = true;
    request.flags = VmFlags::GROWSDOWN | VmFlags::STACK;
    mm.mmap(request).map(drop).map_err(Kill)
}

struct RemoteSink<'a>(&'a Arc<AddressSpace>);

impl StackSink for RemoteSink<'_> {
    fn put(&mut self, addr: u64, bytes: &[u8]) -> Result<()> {
        if self.0.write_remote(addr as usize, bytes, false) == bytes.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
}

/// Makes the loaded image the thread's program.
fn install(
    cx: &mut Ctx,
    program: Program,
    image: Image,
    new_cred: Cred,
    old_cred: &Cred,
    secure: bool,
) {
    let thread = cx.thread;
    let process = &thread.process;
    crate::ipc::futex::exec(thread);
    thread.clear_child_tid.store(0, Ordering::Relaxed);
    thread.robust_list.store(0, Ordering::Relaxed);
    super::keys::context::exec(thread);
    super::rseq::set_area(thread, super::thread::RseqArea::default());
    task::current().set_page_table(Some(image.mm.table().clone()));
    let old_mm = thread.replace_mm(Some(image.mm));
    thread.complete_vfork();
    if let Some(mm) = &old_mm
        && Arc::strong_count(mm) == 1
    {
        mm.clear();
    }
    drop(old_mm);

    unshare_files(thread);
    thread.files().close_on_exec();
    process.signals.exec_reset();
    thread.signals.exec_reset();
    process.timers.exec_reset();
    thread.set_comm(&program.comm);
    let ids_changed = new_cred.euid != old_cred.euid || new_cred.egid != old_cred.egid;
    let readable = crate::fs::permission::may_read(&program.file.inode, old_cred);
    let dumpable = if secure || ids_changed || !readable {
        super::core_dump::SUID_DUMPABLE.load(Ordering::Relaxed)
    } else {
        1
    };
    process.dumpable.store(dumpable, Ordering::Relaxed);
    if ids_changed {
        thread.pdeath_signal.store(0, Ordering::Relaxed);
    }
    thread.set_cred(new_cred);
    let clear = if secure {
        ADDR_NO_RANDOMIZE | READ_IMPLIES_EXEC
    } else {
        0
    };
    thread.personality.fetch_and(!clear, Ordering::Relaxed);
    let old_exe = process.exe.lock().replace(program.file);
    drop(old_exe);
    *process.auxv.lock() = image.auxv;
    process.execed.store(true, Ordering::Relaxed);

    super::user_dispatch::exec_reset(thread);

    // The call's number stays: tracers see its end.
    let orig_rax = cx.user.orig_rax;
    *cx.user = keel_hal::context::UserContext::default();
    cx.user.rip = image.entry;
    cx.user.rsp = image.rsp;
    cx.user.rflags = 0x202;
    cx.user.orig_rax = orig_rax;
    keel_hal::cpu::set_fs_base(0);
    keel_hal::cpu::set_gs_base(0);
    keel_hal::fpu::reset_current();
}

/// A descriptor table shared with others (CLONE_FILES) is copied: exec closes descriptors in its own only.
fn unshare_files(thread: &Arc<Thread>) {
    let files = thread.files();
    if Arc::strong_count(&files) > 2
        && let Ok(own) = files.clone_table()
    {
        drop(thread.replace_files(own));
    }
}

/// Credentials after exec of `file`, and whether the program got privileges (AT_SECURE).
fn cred_for(thread: &Arc<Thread>, old: &Cred, file: &Arc<File>) -> Result<(Cred, bool)> {
    const S_ISUID: u32 = 0o4000;
    const S_ISGID: u32 = 0o2000;
    const S_IXGRP: u32 = 0o0010;
    let mut new = old.clone();
    let attr = file.inode.attr();
    let may_gain = !old.no_new_privs
        && !file.path.mount.is_nosuid()
        && !super::ptrace::blocks_privilege_gain(thread);
    if may_gain {
        let mode = attr.mode;
        if mode & S_ISUID != 0 {
            new.euid = attr.uid;
        }
        if mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP {
            new.egid = attr.gid;
        }
    }
    let id_change = new.euid != old.euid || new.egid != old.egid;
    new.suid = new.euid;
    new.fsuid = new.euid;
    new.sgid = new.egid;
    new.fsgid = new.egid;
    let file_caps = if may_gain {
        cred::file_caps(&file.inode)?
    } else {
        None
    };
    let gained = cred::exec_capabilities(old, &mut new, file_caps.as_ref(), id_change);
    let secure = id_change || old.uid != old.euid || old.gid != old.egid || gained;
    Ok((new, secure))
}
