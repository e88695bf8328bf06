//! N_TTY: what happens between a terminal's line and the programs that read and write it (termios(3)).
//!
//! Pure state: [`super::Tty`] keeps it under a lock and does what it says. The edit buffer holds the line that is
//! being typed; the read buffer holds what programs may take. In canonical mode the read buffer is divided into
//! lines by their lengths (a line ended by VEOF has no terminator).

use keel_abi::flags::{
    InputFlags, LocalFlags, OutputFlags, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT, VMIN,
    VQUIT, VREPRINT, VSTART, VSTOP, VSUSP, VTIME, VWERASE,
};
use keel_abi::types::Termios2;

use crate::prelude::*;
use crate::process::signal::sig;

/// Bytes that wait to be read at most (`N_TTY_BUF_SIZE`).
const BUFFER: usize = 4096;
/// A disabled control character (`_POSIX_VDISABLE`).
const DISABLED: u8 = 0;
const TENTH_OF_A_SECOND: u64 = 100_000_000;
const TAB: usize = 8;

/// What an input byte asks for besides being stored.
pub enum Input {
    /// Nothing.
    Data,
    /// Output is to stop (Ctrl-S).
    Stop,
    /// Output is to go on.
    Start,
    /// The foreground group gets this signal.
    Signal(i32),
}

/// How long a read waits, and for how much (termios(3), "Canonical and noncanonical mode").
pub struct ReadPlan {
    /// Bytes that end the wait; 0 for none.
    pub minimum: usize,
    /// Time limit from the start of the read, nanoseconds.
    pub first_timeout: Option<u64>,
    /// Time limit between bytes, nanoseconds.
    pub gap_timeout: Option<u64>,
}

/// The plan of a read of up to `len` bytes.
pub fn read_plan(modes: &Termios2, len: usize) -> ReadPlan {
    if modes.c_lflag & LocalFlags::ICANON.bits() != 0 {
        return ReadPlan {
            minimum: 1,
            first_timeout: None,
            gap_timeout: None,
        };
    }
    let min = usize::from(modes.c_cc[VMIN]);
    let time = match modes.c_cc[VTIME] {
        0 => None,
        tenths => Some(u64::from(tenths) * TENTH_OF_A_SECOND),
    };
    if min == 0 {
        ReadPlan {
            minimum: usize::from(time.is_some()),
            first_timeout: time,
            gap_timeout: None,
        }
    } else {
        ReadPlan {
            minimum: min.min(len),
            first_timeout: None,
            gap_timeout: time,
        }
    }
}

/// State of the line discipline.
#[derive(Default)]
pub struct LineDiscipline {
    /// What programs may read.
    ready: VecDeque<u8>,
    /// Lengths of the lines in `ready` (canonical mode).
    lines: VecDeque<usize>,
    /// The line being typed, with the column it started at.
    edit: Vec<u8>,
    /// Output column, for tabs and erasing.
    column: usize,
    /// Column where the edited line's echo starts.
    edit_column: usize,
    /// The next byte is taken as it is (VLNEXT).
    literal: bool,
}

fn has(flags: u32, flag: u32) -> bool {
    flags & flag != 0
}

/// Whether input is edited line by line here: with EXTPROC it has been at the other end.
pub fn is_canonical(modes: &Termios2) -> bool {
    has(modes.c_lflag, LocalFlags::ICANON.bits()) && !has(modes.c_lflag, LocalFlags::EXTPROC.bits())
}

impl LineDiscipline {
    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        BUFFER.saturating_sub(self.ready.len() + self.edit.len())
    }

    /// Bytes that may come now without being lost. While a line is being typed that nobody can read yet that is any
    /// number: what does not fit is dropped, so that the end of the line can come.
    pub fn welcome(&self, modes: &Termios2) -> usize {
        if is_canonical(modes) && self.lines.is_empty() {
            BUFFER
        } else {
            self.room().saturating_sub(1)
        }
    }

    /// Canonical mode was switched on or off: what is there stays readable.
    pub fn mode_switched(&mut self, canonical: bool) {
        if canonical {
            if !self.ready.is_empty() {
                self.lines.clear();
                self.lines.push_back(self.ready.len());
            }
        } else {
            self.ready.extend(self.edit.drain(..));
            self.lines.clear();
        }
    }

    /// Throws everything away.
    pub fn flush(&mut self) {
        self.ready.clear();
        self.lines.clear();
        self.edit.clear();
    }

    /// Bytes that a read could give (FIONREAD).
    pub fn available(&self, modes: &Termios2) -> usize {
        if is_canonical(modes) {
            self.lines.iter().sum()
        } else {
            self.ready.len()
        }
    }

    /// Whether a read would give something (or the end of file) at once.
    pub fn readable(&self, modes: &Termios2) -> bool {
        if is_canonical(modes) {
            !self.lines.is_empty()
        } else {
            let min = if modes.c_cc[VTIME] == 0 {
                usize::from(modes.c_cc[VMIN])
            } else {
                1
            };
            self.ready.len() >= min.max(1)
        }
    }

    /// Whether a read that waits for `minimum` bytes can end.
    pub fn readable_for(&self, modes: &Termios2, minimum: usize) -> bool {
        if is_canonical(modes) {
            !self.lines.is_empty()
        } else {
            !self.ready.is_empty() && self.ready.len() >= minimum
        }
    }

    /// Takes up to `out.len()` bytes, of one line at most in canonical mode; `None` if there is nothing. 0 is the
    /// end of file.
    pub fn take(&mut self, modes: &Termios2, out: &mut [u8]) -> Option<usize> {
        let limit = if is_canonical(modes) {
            *self.lines.front()?
        } else {
            self.ready.len()
        };
        let n = limit.min(out.len());
        for (slot, byte) in out.iter_mut().zip(self.ready.drain(..n)) {
            *slot = byte;
        }
        if let Some(line) = self.lines.front_mut() {
            *line -= n;
            if *line == 0 {
                self.lines.pop_front();
            }
        }
        Some(n)
    }

    /// Output processing (OPOST).
    pub fn output(&mut self, bytes: &[u8], modes: &Termios2, out: &mut Vec<u8>) {
        let flags = modes.c_oflag;
        if !has(flags, OutputFlags::OPOST.bits()) {
            out.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            self.output_byte(*byte, flags, out);
        }
    }

    fn output_byte(&mut self, byte: u8, flags: u32, out: &mut Vec<u8>) {
        match byte {
            b'\n' => {
                if has(flags, OutputFlags::ONLCR.bits()) {
                    out.push(b'\r');
                    self.column = 0;
                } else if has(flags, OutputFlags::ONLRET.bits()) {
                    self.column = 0;
                }
                out.push(b'\n');
            }
            b'\r' if has(flags, OutputFlags::ONOCR.bits()) && self.column == 0 => {}
            b'\r' if has(flags, OutputFlags::OCRNL.bits()) => {
                out.push(b'\n');
                if has(flags, OutputFlags::ONLRET.bits()) {
                    self.column = 0;
                }
            }
            b'\r' => {
                self.column = 0;
                out.push(b'\r');
            }
            b'\t' => {
                let spaces = TAB - self.column % TAB;
                if flags & OutputFlags::TABDLY.bits() == OutputFlags::TABDLY.bits() {
                    out.resize(out.len() + spaces, b' ');
                } else {
                    out.push(b'\t');
                }
                self.column += spaces;
            }
            8 => {
                self.column = self.column.saturating_sub(1);
                out.push(8);
            }
            _ => {
                // Continuation bytes of UTF-8 take no column of their own.
                if byte >= 32 && byte & 0xc0 != 0x80 {
                    self.column += 1;
                }
                let upper = has(flags, OutputFlags::OLCUC.bits());
                out.push(if upper {
                    byte.to_ascii_uppercase()
                } else {
                    byte
                });
            }
        }
    }

    /// One byte from the line; what is to be echoed is added to `echo`, output processing done.
    pub fn input(
        &mut self,
        byte: u8,
        modes: &Termios2,
        stopped: bool,
        echo: &mut Vec<u8>,
    ) -> Input {
        let (iflag, lflag) = (modes.c_iflag, modes.c_lflag);
        let changes = has(iflag, InputFlags::ISTRIP.bits())
            || (has(iflag, InputFlags::IUCLC.bits()) && has(lflag, LocalFlags::IEXTEN.bits()));
        if has(lflag, LocalFlags::EXTPROC.bits()) && !changes {
            if self.room() > 1 {
                self.ready.push_back(byte);
            }
            return Input::Data;
        }
        let mut byte = if has(iflag, InputFlags::ISTRIP.bits()) {
            byte & 0x7f
        } else {
            byte
        };
        if has(iflag, InputFlags::IUCLC.bits()) && has(lflag, LocalFlags::IEXTEN.bits()) {
            byte = byte.to_ascii_lowercase();
        }
        if core::mem::take(&mut self.literal) {
            self.store(byte, modes, echo);
            return Input::Data;
        }
        let is = |at: usize| modes.c_cc[at] != DISABLED && modes.c_cc[at] == byte;
        if has(iflag, InputFlags::IXON.bits()) {
            if is(VSTART) {
                return Input::Start;
            }
            if is(VSTOP) {
                return Input::Stop;
            }
        }
        let restart = stopped && has(iflag, InputFlags::IXANY.bits());
        let done = |other: Input| if restart { Input::Start } else { other };
        if has(lflag, LocalFlags::ISIG.bits()) {
            let signals = [(VINTR, sig::INT), (VQUIT, sig::QUIT), (VSUSP, sig::TSTP)];
            if let Some((_, signo)) = signals.iter().find(|(at, _)| is(*at)) {
                if !has(lflag, LocalFlags::NOFLSH.bits()) {
                    self.flush();
                }
                self.echo_byte(byte, modes, echo);
                return Input::Signal(*signo);
            }
        }
        match byte {
            b'\r' if has(iflag, InputFlags::IGNCR.bits()) => return done(Input::Data),
            b'\r' if has(iflag, InputFlags::ICRNL.bits()) => byte = b'\n',
            b'\n' if has(iflag, InputFlags::INLCR.bits()) => byte = b'\r',
            _ => {}
        }
        if is_canonical(modes) {
            self.canonical(byte, modes, echo);
        } else {
            self.store(byte, modes, echo);
        }
        done(Input::Data)
    }

    fn canonical(&mut self, byte: u8, modes: &Termios2, echo: &mut Vec<u8>) {
        let lflag = modes.c_lflag;
        let is = |at: usize| modes.c_cc[at] != DISABLED && modes.c_cc[at] == byte;
        let extended = has(lflag, LocalFlags::IEXTEN.bits());
        if is(VERASE) {
            self.erase_char(modes, echo);
        } else if extended && is(VWERASE) {
            self.erase_word(modes, echo);
        } else if is(VKILL) {
            self.kill_line(modes, echo);
        } else if extended && is(VLNEXT) {
            self.literal = true;
            if has(lflag, LocalFlags::ECHO.bits()) && has(lflag, LocalFlags::ECHOCTL.bits()) {
                echo.extend_from_slice(b"^\x08");
            }
        } else if extended && is(VREPRINT) && has(lflag, LocalFlags::ECHO.bits()) {
            self.echo_byte(byte, modes, echo);
            self.output_byte(b'\n', modes.c_oflag, echo);
            let line = core::mem::take(&mut self.edit);
            self.edit_column = self.column;
            for byte in &line {
                self.echo_byte(*byte, modes, echo);
            }
            self.edit = line;
        } else if is(VEOF) {
            self.finish_line();
        } else if byte == b'\n' {
            if has(lflag, LocalFlags::ECHO.bits()) || has(lflag, LocalFlags::ECHONL.bits()) {
                self.output_byte(b'\n', modes.c_oflag, echo);
            }
            self.edit.push(b'\n');
            self.finish_line();
        } else if is(VEOL) || (extended && is(VEOL2)) {
            self.store(byte, modes, echo);
            self.finish_line();
        } else {
            self.store(byte, modes, echo);
        }
    }

    /// Stores a byte as data.
    fn store(&mut self, byte: u8, modes: &Termios2, echo: &mut Vec<u8>) {
        let canonical = is_canonical(modes);
        // One place stays for the end of the line.
        if self.room() <= 1 {
            if has(modes.c_iflag, InputFlags::IMAXBEL.bits()) {
                echo.push(7);
            }
            return;
        }
        if canonical {
            if self.edit.is_empty() {
                self.edit_column = self.column;
            }
            self.edit.push(byte);
        } else {
            self.ready.push_back(byte);
        }
        if has(modes.c_lflag, LocalFlags::ECHO.bits()) {
            self.echo_byte(byte, modes, echo);
        } else if byte == b'\n' && has(modes.c_lflag, LocalFlags::ECHONL.bits()) && canonical {
            self.output_byte(b'\n', modes.c_oflag, echo);
        }
    }

    fn finish_line(&mut self) {
        self.lines.push_back(self.edit.len());
        self.ready.extend(self.edit.drain(..));
    }

    /// Echoes a byte; control characters as ^X with ECHOCTL.
    fn echo_byte(&mut self, byte: u8, modes: &Termios2, echo: &mut Vec<u8>) {
        if !has(modes.c_lflag, LocalFlags::ECHO.bits()) {
            return;
        }
        let visible = has(modes.c_lflag, LocalFlags::ECHOCTL.bits());
        if visible && is_control(byte) && byte != b'\t' && byte != b'\n' {
            echo.push(b'^');
            echo.push(byte ^ 0x40);
            self.column += 2;
        } else {
            self.output_byte(byte, modes.c_oflag, echo);
        }
    }

    /// Removes the last character (all bytes of it, with IUTF8).
    fn pop_char(&mut self, modes: &Termios2) -> Option<u8> {
        let mut byte = self.edit.pop()?;
        if has(modes.c_iflag, InputFlags::IUTF8.bits()) {
            while byte & 0xc0 == 0x80 {
                byte = self.edit.pop()?;
            }
        }
        Some(byte)
    }

    fn erase_char(&mut self, modes: &Termios2, echo: &mut Vec<u8>) {
        let Some(byte) = self.pop_char(modes) else {
            return;
        };
        if !has(modes.c_lflag, LocalFlags::ECHO.bits()) {
            return;
        }
        if !has(modes.c_lflag, LocalFlags::ECHOE.bits()) {
            self.echo_byte(modes.c_cc[VERASE], modes, echo);
            return;
        }
        let width = self.width(byte, modes);
        for _ in 0..width {
            echo.extend_from_slice(b"\x08 \x08");
        }
        self.column = self.column.saturating_sub(width);
    }

    /// Columns that the echo of the character behind the edited line took.
    fn width(&self, byte: u8, modes: &Termios2) -> usize {
        if byte == b'\t' {
            let before = self
                .edit
                .iter()
                .fold(self.edit_column, |column, byte| match byte {
                    b'\t' => column + TAB - column % TAB,
                    byte if is_control(*byte) => column + 2,
                    byte if byte & 0xc0 == 0x80 => column,
                    _ => column + 1,
                });
            TAB - before % TAB
        } else if is_control(byte) {
            if has(modes.c_lflag, LocalFlags::ECHOCTL.bits()) {
                2
            } else {
                0
            }
        } else {
            1
        }
    }

    fn erase_word(&mut self, modes: &Termios2, echo: &mut Vec<u8>) {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
        let mut seen = false;
        while let Some(last) = self.edit.last() {
            if word(*last) {
                seen = true;
            } else if seen {
                break;
            }
            self.erase_char(modes, echo);
        }
    }

    fn kill_line(&mut self, modes: &Termios2, echo: &mut Vec<u8>) {
        let lflag = modes.c_lflag;
        let wipe = [LocalFlags::ECHO, LocalFlags::ECHOE, LocalFlags::ECHOKE];
        if wipe.iter().all(|flag| has(lflag, flag.bits())) {
            while !self.edit.is_empty() {
                self.erase_char(modes, echo);
            }
            return;
        }
        self.edit.clear();
        self.echo_byte(modes.c_cc[VKILL], modes, echo);
        if has(lflag, LocalFlags::ECHOK.bits()) && has(lflag, LocalFlags::ECHO.bits()) {
            self.output_byte(b'\n', modes.c_oflag, echo);
        }
    }
}

fn is_control(byte: u8) -> bool {
    byte < 32 || byte == 127
}
