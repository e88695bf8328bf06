//! Messages before the kernel has a logger: to the first serial port and into a small buffer that
//! the kernel's log takes over.

use alloc::string::String;
use core::fmt::{self, Write};

use crate::{serial, sync::IrqLock};

/// Bytes kept; later ones are only printed.
const CAPACITY: usize = 8 << 10;

struct Buffer {
    bytes: [u8; CAPACITY],
    len: usize,
}

static BUFFER: IrqLock<Buffer> = IrqLock::new(Buffer {
    bytes: [0; CAPACITY],
    len: 0,
});

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let n = room.len().min(text.len());
        room[..n].copy_from_slice(&text.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// Messages printed with [`crate::early_println!`] so far.
pub fn early_log() -> String {
    let buffer = BUFFER.lock();
    String::from_utf8_lossy(&buffer.bytes[..buffer.len]).into_owned()
}

/// Prints to the first serial port and to the early log; see [`crate::early_println!`].
#[doc(hidden)]
pub fn early_print(args: fmt::Arguments<'_>) {
    // Formatting cannot fail: neither writer does.
    let _ = BUFFER.lock().write_fmt(args);
    serial::early_write(args);
}
