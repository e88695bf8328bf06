//! Terminals (ioctl_tty(2), termios(3)).

use crate::flags::{ControlFlags, InputFlags, LocalFlags, OutputFlags};

/// The number of control characters (`NCCS` of the kernel; glibc's array is longer).
pub const NCCS: usize = 19;

uapi! {
    /// `TCGETS`: the kernel's `struct termios`, which is not glibc's.
    #[derive(Eq, PartialEq)]
    struct Termios = "struct termios", "asm/termbits.h" {
        c_iflag: u32,
        c_oflag: u32,
        c_cflag: u32,
        c_lflag: u32,
        c_line: u8,
        c_cc: [u8; NCCS],
    }

    /// `TCGETS2`: with speeds in baud.
    #[derive(Eq, PartialEq)]
    struct Termios2 = "struct termios2", "asm/termbits.h" {
        c_iflag: u32,
        c_oflag: u32,
        c_cflag: u32,
        c_lflag: u32,
        c_line: u8,
        c_cc: [u8; NCCS],
        c_ispeed: u32,
        c_ospeed: u32,
    }

    /// `TCGETA`
    struct Termio = "struct termio", "asm/termios.h" {
        c_iflag: u16,
        c_oflag: u16,
        c_cflag: u16,
        c_lflag: u16,
        c_line: u8,
        c_cc: [u8; 8],
        _pad: u8,
    }

    /// `TIOCGWINSZ`
    #[derive(Eq, PartialEq)]
    struct Winsize = "struct winsize", "asm/termios.h" {
        ws_row: u16,
        ws_col: u16,
        ws_xpixel: u16,
        ws_ypixel: u16,
    }

    /// `TIOCGSERIAL`
    struct SerialStruct = "struct serial_struct", "linux/types.h linux/serial.h" {
        r#type: i32,
        line: i32,
        port: u32,
        irq: i32,
        flags: i32,
        xmit_fifo_size: i32,
        custom_divisor: i32,
        baud_base: i32,
        close_delay: u16,
        io_type: u8,
        reserved_char: u8,
        hub6: i32,
        closing_wait: u16,
        closing_wait2: u16,
        _pad: u32,
        iomem_base: u64,
        iomem_reg_shift: u16,
        _pad1: u16,
        port_high: u32,
        iomap_base: u64,
    }
}

impl Termios {
    /// How input is treated.
    pub const fn input(&self) -> InputFlags {
        InputFlags::from_bits_retain(self.c_iflag)
    }

    /// How output is treated.
    pub const fn output(&self) -> OutputFlags {
        OutputFlags::from_bits_retain(self.c_oflag)
    }

    /// How the line is driven.
    pub const fn control(&self) -> ControlFlags {
        ControlFlags::from_bits_retain(self.c_cflag)
    }

    /// How the terminal edits, echoes and signals.
    pub const fn local(&self) -> LocalFlags {
        LocalFlags::from_bits_retain(self.c_lflag)
    }
}

impl From<Termios2> for Termios {
    fn from(t: Termios2) -> Termios {
        Termios {
            c_iflag: t.c_iflag,
            c_oflag: t.c_oflag,
            c_cflag: t.c_cflag,
            c_lflag: t.c_lflag,
            c_line: t.c_line,
            c_cc: t.c_cc,
        }
    }
}
