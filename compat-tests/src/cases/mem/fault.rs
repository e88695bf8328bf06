//! What a faulting access tells: SIGSEGV and SIGBUS with code and address; the CPU's other traps.

use crate::prelude::*;

const RW: i32 = PROT_READ | PROT_WRITE;
const MAPERR: i32 = 1;
const ACCERR: i32 = 2;
const SI_KERNEL: i32 = 0x80;

pub static CASES: &[Case] = &[
    case!("rt_sigaction", "unmapped_read_is_maperr", || {
        let at = map_anon(PAGE, RW);
        sc!(munmap, at, PAGE).is(0);
        let want = Fault {
            sig: SIGSEGV,
            code: MAPERR,
            addr: at + 5,
        };
        assert_eq!(fault_of(|| ignore(peek(at + 5))), want);
        assert_eq!(fault_of(|| poke(at + 5, 1)), want);
    }),
    case!("rt_sigaction", "null_pointer", || {
        assert_eq!(
            fault_of(|| poke(0, 1)),
            Fault {
                sig: SIGSEGV,
                code: MAPERR,
                addr: 0
            }
        );
    }),
    case!("rt_sigaction", "kernel_address_is_maperr", || {
        let at = 0xffff_ffff_8000_0000;
        let fault = fault_of(|| ignore(peek(at)));
        assert_eq!((fault.sig, fault.addr), (SIGSEGV, at));
        assert_eq!(fault.code, MAPERR);
    }),
    case!(
        "rt_sigaction",
        "non_canonical_address_is_a_general_protection",
        || {
            let want = Fault {
                sig: SIGSEGV,
                code: SI_KERNEL,
                addr: 0,
            };
            assert_eq!(fault_of(|| ignore(peek(0x8000_0000_0000_0000))), want);
        }
    ),
    case!("rt_sigaction", "write_to_readonly_file_mapping", || {
        let at = map_fd(file("f", b"x"), PAGE, PROT_READ, MAP_SHARED, 0);
        assert_eq!(
            fault_of(|| poke(at, 1)),
            Fault {
                sig: SIGSEGV,
                code: ACCERR,
                addr: at
            }
        );
    }),
    case!(
        "rt_sigaction",
        "beyond_the_end_of_the_file_is_sigbus",
        || {
            let at = map_fd(file("f", b"x"), 3 * PAGE, PROT_READ, MAP_SHARED, 0);
            assert_eq!(peek(at + 100), 0);
            let want = Fault {
                sig: SIGBUS,
                code: 2,
                addr: at + PAGE,
            };
            assert_eq!(fault_of(|| ignore(peek(at + PAGE))), want);
        }
    ),
    case!(
        "rt_sigaction ftruncate",
        "truncation_takes_mapped_pages_away",
        || {
            let fd = file("f", vec![1u8; 2 * PAGE]);
            let at = map_fd(fd, 2 * PAGE, RW, MAP_SHARED, 0);
            poke(at + PAGE, 2);
            sc!(ftruncate, fd, 10).is(0);
            assert_eq!(fault_of(|| ignore(peek(at + PAGE))).sig, SIGBUS);
            assert_eq!((peek(at + 9), peek(at + 10)), (1, 0));
        }
    ),
    case!(
        "rt_sigaction ftruncate",
        "private_copy_is_lost_by_truncation_too",
        || {
            let fd = file("f", vec![1u8; 2 * PAGE]);
            let at = map_fd(fd, 2 * PAGE, RW, MAP_PRIVATE, 0);
            poke(at + PAGE, 2);
            sc!(ftruncate, fd, 10).is(0);
            assert_eq!(fault_of(|| ignore(peek(at + PAGE))).sig, SIGBUS);
        }
    ),
    case!(
        "rt_sigaction",
        "system_call_on_sigbus_page_is_efault",
        || {
            let at = map_fd(file("f", b""), PAGE, RW, MAP_SHARED, 0);
            sc!(write, pipe().1, at, 10).err(EFAULT);
            let (r, w) = pipe();
            write_all(w, b"x");
            sc!(read, r, at, 1).err(EFAULT);
        }
    ),
    case!("rt_sigaction", "illegal_instruction", || {
        let fault = fault_of(execute_ud2);
        assert_eq!((fault.sig, fault.code), (SIGILL, 2));
        assert_ne!(fault.addr, 0);
    }),
    case!("rt_sigaction", "division_by_zero", || {
        let fault = fault_of(execute_div_zero);
        assert_eq!((fault.sig, fault.code), (SIGFPE, 1));
        assert_ne!(fault.addr, 0);
    }),
    case!("rt_sigaction", "breakpoint", || {
        let fault = fault_of(execute_int3);
        assert_eq!((fault.sig, fault.code), (SIGTRAP, SI_KERNEL));
    }),
    case!("rt_sigaction", "privileged_instruction", || {
        let fault = fault_of(execute_hlt);
        assert_eq!((fault.sig, fault.code, fault.addr), (SIGSEGV, SI_KERNEL, 0));
    }),
    case!("rt_sigaction", "port_access_without_permission", || {
        assert_eq!(fault_of(execute_in).sig, SIGSEGV);
    }),
    case!(
        "rt_sigaction",
        "default_action_kills_with_core_flag_possible",
        || {
            let st = fork(|| poke(0, 1)).wait();
            assert_eq!(st.signal(), Some(SIGSEGV));
        }
    ),
    case!(
        "rt_sigaction rt_sigprocmask",
        "blocked_fault_signal_kills_anyway",
        || {
            fork(|| {
                on_signal(SIGSEGV, 0);
                sigmask(SIG_BLOCK, bit(SIGSEGV));
                poke(0, 1);
            })
            .dies(SIGSEGV);
        }
    ),
    case!("rt_sigaction", "ignored_fault_signal_kills_anyway", || {
        fork(|| {
            set_disposition(SIGSEGV, SIG_IGN);
            poke(0, 1);
        })
        .dies(SIGSEGV);
    }),
    case!("rt_sigaction", "stack_grows_on_demand", || {
        fn deep(n: usize) -> u8 {
            let block = std::hint::black_box([n as u8; 4096]);
            if n == 0 {
                block[0]
            } else {
                deep(n - 1).wrapping_add(block[n % 4096])
            }
        }
        let before: u64 = status_field(getpid(), "VmStk")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or(0);
        let _ = std::hint::black_box(deep(300));
        let after: u64 = status_field(getpid(), "VmStk")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or(0);
        assert!(after >= before + 1000, "{before} kB, then {after} kB");
    }),
    case!(
        "sigaltstack setrlimit",
        "stack_overflow_is_caught_on_another_stack",
        || {
            #[allow(unconditional_recursion)]
            fn forever(n: usize) -> u8 {
                let block = std::hint::black_box([n as u8; 4096]);
                forever(n + 1).wrapping_add(block[n % 4096])
            }
            let fault_child = || {
                let alt = map_anon(16 * PAGE, RW);
                let ss = [alt, 0, 16 * PAGE];
                sc!(sigaltstack, &ss, 0).is(0);
                extern "C" fn leave(_: i32) {
                    exit(33);
                }
                install_plain_handler(SIGSEGV, leave, SA_ONSTACK);
                let _ = forever(0);
            };
            fork(fault_child).exits(33);
        }
    ),
    case!(
        "rt_sigaction",
        "overflow_without_alternate_stack_kills",
        || {
            #[allow(unconditional_recursion)]
            fn forever(n: usize) -> u8 {
                let block = std::hint::black_box([n as u8; 4096]);
                forever(n + 1).wrapping_add(block[n % 4096])
            }
            fork(|| {
                sc!(sigaltstack, [0usize, SS_DISABLE as usize, 0], 0).is(0);
                set_disposition(SIGSEGV, SIG_DFL);
                let _ = forever(0);
            })
            .dies(SIGSEGV);
        }
    ),
];
