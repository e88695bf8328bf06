//! Terminal ioctls (ioctl_tty(2)).

use core::sync::atomic::Ordering;
use keel_abi::args::{Pid, UserPtr};
use keel_abi::flags::{IoctlCmd, TCIFLUSH, TCIOFF, TCIOFLUSH, TCION, TCOFLUSH, TCOOFF, TCOON};
use keel_abi::types::{NCCS, Termio, Termios, Termios2, Winsize};

use super::{Tty, job};
use crate::fs::File;
use crate::mm::user::UserAccess;
use crate::prelude::*;
use crate::process::{Cap, current};

pub fn ioctl(tty: &Arc<Tty>, file: &Arc<File>, cmd: u32, arg: u64) -> Result<usize> {
    if let Some(result) = tty.driver.ioctl(tty, cmd, arg) {
        return result;
    }
    match IoctlCmd(cmd) {
        IoctlCmd::TCGETS => UserPtr::<Termios>::new(arg).write(&tty.modes().into())?,
        IoctlCmd::TCGETS2 => UserPtr::<Termios2>::new(arg).write(&tty.modes())?,
        IoctlCmd::TCGETA => UserPtr::<Termio>::new(arg).write(&short_modes(&tty.modes()))?,
        IoctlCmd::TCSETS | IoctlCmd::TCSETSW => set(tty, read_termios(tty, arg)?, false)?,
        IoctlCmd::TCSETSF => set(tty, read_termios(tty, arg)?, true)?,
        IoctlCmd::TCSETS2 | IoctlCmd::TCSETSW2 => set(tty, UserPtr::new(arg).read()?, false)?,
        IoctlCmd::TCSETSF2 => set(tty, UserPtr::new(arg).read()?, true)?,
        IoctlCmd::TCSETA | IoctlCmd::TCSETAW => set(tty, read_termio(tty, arg)?, false)?,
        IoctlCmd::TCSETAF => set(tty, read_termio(tty, arg)?, true)?,
        IoctlCmd::TIOCGWINSZ => UserPtr::<Winsize>::new(arg).write(&tty.winsize())?,
        IoctlCmd::TIOCSWINSZ => tty.set_winsize(UserPtr::new(arg).read()?),
        IoctlCmd::TIOCGPGRP => {
            let pgid = job::foreground_of(&current(), tty)?;
            UserPtr::<Pid>::new(arg).write(&Pid(pgid as i32))?;
        }
        IoctlCmd::TIOCSPGRP => {
            let pgid = UserPtr::<i32>::new(arg).read()?;
            job::set_foreground(&current(), tty, pgid)?;
        }
        IoctlCmd::TIOCGSID => {
            job::foreground_of(&current(), tty)?;
            UserPtr::<Pid>::new(arg).write(&Pid(tty.session() as i32))?;
        }
        IoctlCmd::TIOCSCTTY => job::acquire(&current(), tty, arg == 1)?,
        IoctlCmd::TIOCNOTTY => job::release(&current(), tty)?,
        IoctlCmd::FIONREAD => {
            let len = tty.ldisc.lock().available(&tty.modes());
            UserPtr::<i32>::new(arg).write(&(len as i32))?;
        }
        // Output is on the line by the time a write returns.
        IoctlCmd::TIOCOUTQ => UserPtr::<i32>::new(arg).write(&0)?,
        IoctlCmd::TCSBRK | IoctlCmd::TCSBRKP | IoctlCmd::TIOCSBRK | IoctlCmd::TIOCCBRK => {
            job::check_change(tty)?;
        }
        IoctlCmd::TCFLSH => flush(tty, arg)?,
        IoctlCmd::TCXONC => flow(tty, arg)?,
        IoctlCmd::TIOCEXCL => tty.exclusive.store(true, Ordering::Relaxed),
        IoctlCmd::TIOCNXCL => tty.exclusive.store(false, Ordering::Relaxed),
        IoctlCmd::TIOCGEXCL => {
            let exclusive = i32::from(tty.exclusive.load(Ordering::Relaxed));
            UserPtr::<i32>::new(arg).write(&exclusive)?;
        }
        IoctlCmd::TIOCGETD => UserPtr::<i32>::new(arg).write(&0)?,
        IoctlCmd::TIOCSETD => {
            if UserPtr::<i32>::new(arg).read()? != 0 {
                return Err(Errno::EINVAL);
            }
        }
        IoctlCmd::TIOCGDEV => UserPtr::<u32>::new(arg).write(&(tty.rdev as u32))?,
        IoctlCmd::TIOCSTI => push_back(tty, file, arg)?,
        IoctlCmd::TIOCVHANGUP => {
            current().cred().require(Cap::SYS_ADMIN)?;
            tty.hang_up();
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

fn set(tty: &Tty, new: Termios2, flush: bool) -> Result<()> {
    job::check_change(tty)?;
    if flush {
        tty.flush_input();
    }
    tty.set_modes(new);
    Ok(())
}

/// A `struct termios` has no speeds of its own: those in force stay unless the rate bits say otherwise.
fn read_termios(tty: &Tty, arg: u64) -> Result<Termios2> {
    let new: Termios = UserPtr::new(arg).read()?;
    Ok(Termios2 {
        c_iflag: new.c_iflag,
        c_oflag: new.c_oflag,
        c_cflag: new.c_cflag,
        c_lflag: new.c_lflag,
        c_line: new.c_line,
        c_cc: new.c_cc,
        ..tty.modes()
    })
}

fn read_termio(tty: &Tty, arg: u64) -> Result<Termios2> {
    let new: Termio = UserPtr::new(arg).read()?;
    let old = tty.modes();
    let low = |old: u32, new: u16| (old & 0xffff_0000) | u32::from(new);
    let mut c_cc = old.c_cc;
    c_cc[..8].copy_from_slice(&new.c_cc);
    Ok(Termios2 {
        c_iflag: low(old.c_iflag, new.c_iflag),
        c_oflag: low(old.c_oflag, new.c_oflag),
        c_cflag: low(old.c_cflag, new.c_cflag),
        c_lflag: low(old.c_lflag, new.c_lflag),
        c_line: new.c_line,
        c_cc,
        ..old
    })
}

fn short_modes(modes: &Termios2) -> Termio {
    let mut c_cc = [0; 8];
    c_cc.copy_from_slice(&modes.c_cc[..NCCS.min(8)]);
    Termio {
        c_iflag: modes.c_iflag as u16,
        c_oflag: modes.c_oflag as u16,
        c_cflag: modes.c_cflag as u16,
        c_lflag: modes.c_lflag as u16,
        c_line: modes.c_line,
        c_cc,
        ..Termio::default()
    }
}

fn flush(tty: &Tty, arg: u64) -> Result<()> {
    job::check_change(tty)?;
    match u32::try_from(arg) {
        Ok(TCIFLUSH) => tty.flush_input(),
        Ok(TCOFLUSH) => tty.flush_output(),
        Ok(TCIOFLUSH) => {
            tty.flush_input();
            tty.flush_output();
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn flow(tty: &Tty, arg: u64) -> Result<()> {
    job::check_change(tty)?;
    match u32::try_from(arg) {
        Ok(TCOOFF) => tty.set_stopped(true),
        Ok(TCOON) => tty.set_stopped(false),
        Ok(which @ (TCIOFF | TCION)) => {
            let key = if which == TCIOFF {
                keel_abi::flags::VSTOP
            } else {
                keel_abi::flags::VSTART
            };
            tty.driver.write(tty, &[tty.modes().c_cc[key]]);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// TIOCSTI: a byte as if typed; EPERM for a terminal that is not the caller's without CAP_SYS_ADMIN.
fn push_back(tty: &Arc<Tty>, _file: &Arc<File>, arg: u64) -> Result<()> {
    let thread = current();
    let own = thread.process.tty.lock().clone();
    if !own.is_some_and(|own| Arc::ptr_eq(&own, tty)) {
        thread.cred().require(Cap::SYS_ADMIN)?;
    }
    let byte: u8 = UserPtr::new(arg).read()?;
    tty.receive(&[byte]);
    Ok(())
}
