//! Where the big parts of an address space begin, with and without randomisation.
//!
//! From the top down: the stack, the room it may grow into, the mmap area (interpreter and vDSO at its top), and far
//! below the program and its heap. The widths are Linux's for x86_64: 22 bits of pages for the stack, `vm.mmap_rnd_bits`
//! (28) for the mmap area and for the program, 1 GiB for the heap (personality(2), proc_sys_vm(5)).

use crate::{PAGE_SIZE, TASK_SIZE, page_down, page_up};

/// Default of `/proc/sys/vm/mmap_rnd_bits`.
pub const MMAP_RND_BITS: u32 = 28;
/// Bounds of `/proc/sys/vm/mmap_rnd_bits`.
pub const MMAP_RND_BITS_RANGE: core::ops::RangeInclusive<u32> = 28..=32;

/// A position-independent program lies here when nothing is random: two thirds up.
const PIE_BASE: u64 = TASK_SIZE / 3 * 2;
/// The stack's top moves down by up to so many pages.
const STACK_RND_PAGES: u64 = 0x3f_ffff;
/// Within its page, and some more, the stack pointer moves by up to so many bytes (exclusive).
const STACK_SHUFFLE: u64 = 8192;
/// Kept free below a stack that has grown to its limit (`stack_guard_gap`).
const STACK_GUARD: u64 = 256 * PAGE_SIZE;
/// The gap between the stack's top and the mmap area is at least this…
const MIN_GAP: u64 = 128 << 20;
/// …and at most this.
const MAX_GAP: u64 = TASK_SIZE / 6 * 5;
/// The heap begins within so many bytes of the program's end.
const BRK_RANGE: u64 = 1 << 30;

/// What decides about the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `/proc/sys/kernel/randomize_va_space` is not 0 and the personality lacks `ADDR_NO_RANDOMIZE`.
    pub randomize: bool,
    /// `/proc/sys/kernel/randomize_va_space` is 2. Without `randomize` it has no effect.
    pub randomize_brk: bool,
    /// The personality has `ADDR_COMPAT_LAYOUT`, or `/proc/sys/vm/legacy_va_layout` is set.
    pub legacy: bool,
    /// Soft `RLIMIT_STACK` in bytes.
    pub rlim_stack: u64,
    /// `/proc/sys/vm/mmap_rnd_bits`; taken as the nearest value in [`MMAP_RND_BITS_RANGE`].
    pub mmap_rnd_bits: u32,
}

/// Whether mappings without a wish go below each other or above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Each new mapping ends at or below [`AddressLayout::mmap_base`], the highest free place first.
    TopDown,
    /// Each new mapping begins at or above it, the lowest free place first.
    BottomUp,
}

/// The choice for one execve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressLayout {
    /// End of the stack, page-aligned.
    pub stack_top: u64,
    /// By how many bytes the tables on the stack move down from the strings, below 8192.
    pub stack_shuffle: u64,
    /// Start or end of the mmap area, page-aligned.
    pub mmap_base: u64,
    /// Which of the two.
    pub direction: Direction,
    /// Where a position-independent program with an interpreter goes, not yet aligned
    /// ([`crate::elf::LoadPlan::pie_bias`]). One without (`ld.so` itself, static-pie) goes into the mmap area.
    pub pie_base: u64,
    randomize_brk: bool,
}

impl AddressLayout {
    /// Chooses; `random` gives independent, uniformly distributed numbers. It is not called when nothing is random.
    pub fn choose(config: &Config, random: &mut impl FnMut() -> u64) -> Self {
        let (low, high) = MMAP_RND_BITS_RANGE.into_inner();
        let pages = 1u64 << config.mmap_rnd_bits.clamp(low, high);
        let mut below = |limit: u64| {
            if config.randomize {
                random() % limit
            } else {
                0
            }
        };

        let shift = below(STACK_RND_PAGES + 1) * PAGE_SIZE;
        let stack_top = page_up_low(TASK_SIZE - shift - below(STACK_SHUFFLE));
        let stack_shuffle = below(STACK_SHUFFLE);
        let mmap_rnd = below(pages) * PAGE_SIZE;
        let pie_base = PIE_BASE + below(pages) * PAGE_SIZE;
        let (mmap_base, direction) = if config.legacy {
            (page_up_low(TASK_SIZE / 3) + mmap_rnd, Direction::BottomUp)
        } else {
            (
                page_up_low(TASK_SIZE - stack_gap(config) - mmap_rnd),
                Direction::TopDown,
            )
        };
        let randomize_brk = config.randomize && config.randomize_brk;
        AddressLayout {
            stack_top,
            stack_shuffle,
            mmap_base,
            direction,
            pie_base,
            randomize_brk,
        }
    }

    /// Where the heap begins. `image_end` is [`crate::elf::MemoryMarks::start_brk`]; `in_mmap_area` says that the program
    /// is position-independent and has no interpreter: then the heap gets the place where programs usually lie,
    /// because behind the image there is no room to grow.
    pub fn start_brk(
        &self,
        image_end: u64,
        in_mmap_area: bool,
        random: &mut impl FnMut() -> u64,
    ) -> u64 {
        let start = page_up(if in_mmap_area { PIE_BASE } else { image_end }).unwrap_or(image_end);
        if !self.randomize_brk {
            return start;
        }
        let moved = start.saturating_add(random() % (BRK_RANGE / PAGE_SIZE) * PAGE_SIZE);
        if moved < TASK_SIZE { moved } else { start }
    }
}

/// Bytes kept for the stack: its limit, the guard, and how far its top may have moved.
fn stack_gap(config: &Config) -> u64 {
    let moved = if config.randomize {
        STACK_RND_PAGES * PAGE_SIZE
    } else {
        0
    };
    // Where the sum overflows (no limit at all), Linux keeps the limit alone: the largest gap either way.
    config
        .rlim_stack
        .saturating_add(moved + STACK_GUARD)
        .clamp(MIN_GAP, MAX_GAP)
}

/// `addr` rounded up to a page, for addresses at most [`TASK_SIZE`], where it cannot overflow.
fn page_up_low(addr: u64) -> u64 {
    page_down(addr + PAGE_SIZE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Config = Config {
        randomize: false,
        randomize_brk: true,
        legacy: false,
        rlim_stack: 8 << 20,
        mmap_rnd_bits: MMAP_RND_BITS,
    };
    const RANDOM: Config = Config {
        randomize: true,
        ..FIXED
    };

    fn never() -> u64 {
        panic!("asked for a random number")
    }

    #[test]
    fn without_randomisation_addresses_are_the_known_ones() {
        // As `setarch -R cat /proc/self/maps` shows them on Linux.
        let layout = AddressLayout::choose(&FIXED, &mut never);
        assert_eq!(layout.stack_top, 0x7fff_ffff_f000);
        assert_eq!(layout.stack_shuffle, 0);
        assert_eq!(layout.mmap_base, 0x7fff_f7ff_f000);
        assert_eq!(layout.direction, Direction::TopDown);
        assert_eq!(page_down(layout.pie_base), 0x5555_5555_4000);
        assert_eq!(
            layout.start_brk(0x5555_5555_f010, false, &mut never),
            0x5555_5556_0000
        );
        assert_eq!(
            layout.start_brk(0x7fff_f7ff_e000, true, &mut never),
            0x5555_5555_5000
        );
    }

    #[test]
    fn large_and_unlimited_stacks_push_the_mmap_area_down() {
        let config = Config {
            rlim_stack: 1 << 40,
            ..FIXED
        };
        let layout = AddressLayout::choose(&config, &mut never);
        assert_eq!(layout.mmap_base, TASK_SIZE - (1 << 40) - STACK_GUARD);
        let config = Config {
            rlim_stack: u64::MAX,
            ..FIXED
        };
        let layout = AddressLayout::choose(&config, &mut never);
        assert_eq!(layout.mmap_base, page_up_low(TASK_SIZE - MAX_GAP));
    }

    #[test]
    fn legacy_grows_upwards_from_a_third() {
        let layout = AddressLayout::choose(
            &Config {
                legacy: true,
                ..FIXED
            },
            &mut never,
        );
        assert_eq!(
            (layout.mmap_base, layout.direction),
            (0x2aaa_aaaa_b000, Direction::BottomUp)
        );
    }

    #[test]
    fn extremes_of_randomness_stay_in_order() {
        for rlim_stack in [0, 8 << 20, 1 << 34, u64::MAX] {
            for mmap_rnd_bits in [0, 28, 32, 99] {
                for value in [0, u64::MAX, 0x1234_5678_9abc_def0] {
                    let config = Config {
                        rlim_stack,
                        mmap_rnd_bits,
                        ..RANDOM
                    };
                    let layout = AddressLayout::choose(&config, &mut || value);
                    assert!(
                        layout.stack_top <= TASK_SIZE && layout.stack_top.is_multiple_of(PAGE_SIZE)
                    );
                    assert!(
                        layout.mmap_base < layout.stack_top
                            && layout.mmap_base.is_multiple_of(PAGE_SIZE)
                    );
                    assert!(layout.pie_base >= PIE_BASE && layout.pie_base < TASK_SIZE);
                    assert!(layout.stack_shuffle < STACK_SHUFFLE);
                    let brk = layout.start_brk(0x5555_5556_0000, false, &mut || value);
                    assert!((0x5555_5556_0000..0x5555_9556_0000).contains(&brk));
                }
            }
        }
    }

    #[test]
    fn heap_is_not_random_with_va_space_1() {
        let config = Config {
            randomize_brk: false,
            ..RANDOM
        };
        let layout = AddressLayout::choose(&config, &mut || 12345);
        assert_eq!(layout.start_brk(0x40_1000, false, &mut never), 0x40_1000);
    }
}
