use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;

const TOP: u64 = 0x7fff_ffff_f000;

fn inputs() -> AuxInputs {
    AuxInputs {
        sysinfo_ehdr: Some(0x7fff_f7fc_8000),
        minsigstksz: 3376,
        hwcap: 0x178b_fbff,
        hwcap2: HWCAP2_FSGSBASE,
        phdr: 0x5555_5555_4040,
        phnum: 13,
        base: 0x7fff_f7fc_a000,
        flags: 0,
        entry: 0x5555_5555_63d0,
        uid: 1,
        euid: 2,
        gid: 3,
        egid: 4,
        secure: true,
        random: *b"0123456789abcdef",
        execfd: None,
        rseq_feature_size: 28,
        rseq_align: 32,
    }
}

/// The stack's memory from rsp up; every byte that was not written is 0xaa.
struct Memory {
    base: u64,
    bytes: Vec<u8>,
    next: u64,
}

impl StackSink for Memory {
    fn put(&mut self, addr: u64, bytes: &[u8]) -> Result<(), Errno> {
        assert!(addr >= self.next, "addresses ascend");
        self.next = addr + bytes.len() as u64;
        let at = (addr - self.base) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

impl Memory {
    fn of(plan: &StackPlan, args: &ExecArgs) -> Self {
        let bytes = vec![0xaa; (TOP - plan.rsp) as usize];
        let mut memory = Memory {
            base: plan.rsp,
            bytes,
            next: 0,
        };
        plan.write(args, &mut memory).unwrap();
        memory
    }

    fn word(&self, addr: u64) -> u64 {
        let at = (addr - self.base) as usize;
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn string(&self, addr: u64) -> String {
        let bytes = &self.bytes[(addr - self.base) as usize..];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    }

    /// The pointers from `addr` to NULL as strings, and the address behind NULL.
    fn strings(&self, mut addr: u64) -> (Vec<String>, u64) {
        let mut found = Vec::new();
        while self.word(addr) != 0 {
            found.push(self.string(self.word(addr)));
            addr += 8;
        }
        (found, addr + 8)
    }
}

fn args(argv: &[&str], envp: &[&str]) -> ExecArgs {
    let mut args = ExecArgs::new(b"/bin/true", argv.len(), envp.len(), 8 << 20).unwrap();
    argv.iter()
        .for_each(|arg| args.push_arg(arg.as_bytes()).unwrap());
    envp.iter()
        .for_each(|env| args.push_env(env.as_bytes()).unwrap());
    args
}

#[test]
fn a_program_finds_what_it_was_given() {
    for shuffle in [0, 1, 8191] {
        let args = args(&["true", "", "second"], &["A=1", "LONG=bbbbbbbbbbbbbbb"]);
        let plan = StackPlan::new(&args, &inputs(), TOP, shuffle).unwrap();
        let memory = Memory::of(&plan, &args);
        assert_eq!(plan.rsp % 16, 0);
        assert_eq!(memory.word(plan.rsp), 3);
        let (argv, next) = memory.strings(plan.rsp + 8);
        assert_eq!(argv, ["true", "", "second"]);
        let (envp, auxv) = memory.strings(next);
        assert_eq!(envp, ["A=1", "LONG=bbbbbbbbbbbbbbb"]);
        for (index, word) in plan.auxv.iter().enumerate() {
            assert_eq!(memory.word(auxv + index as u64 * 8), *word);
        }
        assert_eq!(memory.bytes[memory.bytes.len() - 8..], [0; 8]);
        let value = |kind| plan.auxv.chunks(2).find(|pair| pair[0] == kind).unwrap()[1];
        assert_eq!(memory.string(value(at::EXECFN)), "/bin/true");
        assert_eq!(value(at::EXECFN) + 10, TOP - 8);
        assert_eq!(memory.string(value(at::PLATFORM)), "x86_64");
        assert_eq!(
            memory.string(value(at::RANDOM)).get(..16),
            Some("0123456789abcdef")
        );
        assert_eq!(memory.string(plan.arg_start), "true");
        assert_eq!(memory.string(plan.env_start), "A=1");
        assert_eq!(plan.env_end, value(at::EXECFN));
    }
}

#[test]
fn auxv_has_linux_order() {
    let args = args(&["x"], &[]);
    let kinds = |aux: &AuxInputs| -> Vec<u64> {
        StackPlan::new(&args, aux, TOP, 0)
            .unwrap()
            .auxv
            .chunks(2)
            .map(|pair| pair[0])
            .collect()
    };
    // As `LD_SHOW_AUXV=1 /bin/true` prints them.
    let linux = [
        33, 51, 16, 6, 17, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 23, 25, 26, 31, 15, 27, 28, 0,
    ];
    assert_eq!(kinds(&inputs()), linux);
    let other = kinds(&AuxInputs {
        sysinfo_ehdr: None,
        execfd: Some(3),
        ..inputs()
    });
    assert_eq!(other[0], at::MINSIGSTKSZ);
    assert_eq!(
        other[19..],
        [at::EXECFD, at::RSEQ_FEATURE_SIZE, at::RSEQ_ALIGN, at::NULL]
    );
}

#[test]
fn megabytes_of_strings_pass_through_one_page_of_buffer() {
    let many: Vec<String> = (0..40_000)
        .map(|i| alloc::format!("argument number {i}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let args = args(&many, &many[..100]);
    let plan = StackPlan::new(&args, &inputs(), TOP, 77).unwrap();
    let memory = Memory::of(&plan, &args);
    let (argv, next) = memory.strings(plan.rsp + 8);
    assert_eq!(argv, many);
    assert_eq!(memory.strings(next).0, many[..100]);
}

#[test]
fn a_stack_too_low_is_refused() {
    let args = args(&["x"], &["y"]);
    for top in [0, 8, 100, 300] {
        assert_eq!(StackPlan::new(&args, &inputs(), top, 0), Err(Errno::ENOMEM));
    }
}
