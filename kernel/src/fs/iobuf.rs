//! Where read data goes and written data comes from: user memory in one or several pieces, or the kernel.

use keel_abi::types::Iovec;
use keel_hal::user;

use crate::prelude::*;

/// Most bytes that one call moves (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

enum Place<'a, K> {
    One {
        addr: usize,
        len: usize,
    },
    Many {
        list: Vec<(usize, usize)>,
        at: usize,
    },
    Kernel {
        bytes: K,
        at: usize,
        _life: core::marker::PhantomData<&'a ()>,
    },
}

/// The next piece of user memory.
fn front<K>(place: &Place<'_, K>) -> Option<(usize, usize)> {
    match place {
        Place::One { addr, len } => (*len > 0).then_some((*addr, *len)),
        Place::Many { list, at } => list.get(*at).copied(),
        Place::Kernel { .. } => None,
    }
}

fn advance<K>(place: &mut Place<'_, K>, n: usize) {
    match place {
        Place::One { addr, len } => {
            *addr += n;
            *len -= n;
        }
        Place::Many { list, at } => {
            if let Some((addr, len)) = list.get_mut(*at) {
                *addr += n;
                *len -= n;
                if *len == 0 {
                    *at += 1;
                }
            }
        }
        Place::Kernel { at, .. } => *at += n,
    }
}

/// Checks an iovec and drops its empty pieces: EINVAL for a negative length. The sum is cut to [`MAX_RW_COUNT`].
fn pieces(iov: &[Iovec]) -> Result<Vec<(usize, usize)>> {
    let mut left = MAX_RW_COUNT;
    let mut list = Vec::new();
    list.try_reserve(iov.len()).map_err(|_| Errno::ENOMEM)?;
    for piece in iov {
        let len = piece.iov_len;
        if len > isize::MAX as usize {
            return Err(Errno::EINVAL);
        }
        let len = len.min(left);
        left -= len;
        if len > 0 {
            list.push((piece.iov_base.addr() as usize, len));
        }
    }
    Ok(list)
}

/// Where read data goes.
pub struct IoDst<'a> {
    place: Place<'a, &'a mut [u8]>,
    remaining: usize,
    done: usize,
}

impl<'a> IoDst<'a> {
    /// User memory in one piece.
    pub fn from_user(addr: usize, len: usize) -> Self {
        let len = len.min(MAX_RW_COUNT);
        Self {
            place: Place::One { addr, len },
            remaining: len,
            done: 0,
        }
    }

    /// User memory in pieces: EINVAL, ENOMEM.
    pub fn from_iovecs(iov: &[Iovec]) -> Result<Self> {
        let list = pieces(iov)?;
        let remaining = list.iter().map(|(_, len)| len).sum();
        Ok(Self {
            place: Place::Many { list, at: 0 },
            remaining,
            done: 0,
        })
    }

    /// Kernel memory.
    pub fn from_kernel(bytes: &'a mut [u8]) -> Self {
        let remaining = bytes.len();
        let place = Place::Kernel {
            bytes,
            at: 0,
            _life: core::marker::PhantomData,
        };
        Self {
            place,
            remaining,
            done: 0,
        }
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Copies as much of `bytes` as fits; how many. EFAULT only when nothing could be copied.
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        self.fill(
            bytes.len(),
            &mut |addr, at, n| user::write_partial(addr, &bytes[at..at + n]),
            &mut |to, at| {
                let n = to.len();
                to.copy_from_slice(&bytes[at..at + n]);
            },
        )
    }

    /// Copies `len` bytes from `off` in a frame, as far as they fit.
    pub fn put_frame(&mut self, frame: &Frame, off: usize, len: usize) -> Result<usize> {
        self.fill(
            len,
            &mut |addr, at, n| frame.copy_to_user(off + at, addr, n),
            &mut |to, at| {
                frame.read(off + at, to);
            },
        )
    }

    /// Puts zeroes.
    pub fn put_zeros(&mut self, len: usize) -> Result<usize> {
        self.fill(len, &mut |addr, _, n| user::zero(addr, n), &mut |to, _| {
            to.fill(0)
        })
    }

    /// Moves up to `len` bytes: `to_user(address, offset, count)` gives how many it could.
    fn fill(
        &mut self,
        len: usize,
        to_user: &mut dyn FnMut(usize, usize, usize) -> usize,
        to_kernel: &mut dyn FnMut(&mut [u8], usize),
    ) -> Result<usize> {
        let len = len.min(self.remaining);
        let mut moved = 0;
        while moved < len {
            let n = match &mut self.place {
                Place::Kernel { bytes, at, .. } => {
                    let n = len - moved;
                    to_kernel(&mut bytes[*at..*at + n], moved);
                    n
                }
                place => {
                    let Some((addr, room)) = front(place) else {
                        break;
                    };
                    let n = room.min(len - moved);
                    let copied = to_user(addr, moved, n);
                    if copied < n {
                        advance(&mut self.place, copied);
                        moved += copied;
                        if moved == 0 {
                            return Err(Errno::EFAULT);
                        }
                        self.remaining -= moved;
                        self.done += moved;
                        return Ok(moved);
                    }
                    n
                }
            };
            advance(&mut self.place, n);
            moved += n;
        }
        self.remaining -= moved;
        self.done += moved;
        Ok(moved)
    }
}

/// Where written data comes from.
pub struct IoSrc<'a> {
    place: Place<'a, &'a [u8]>,
    remaining: usize,
    done: usize,
}

impl<'a> IoSrc<'a> {
    /// User memory in one piece.
    pub fn from_user(addr: usize, len: usize) -> Self {
        let len = len.min(MAX_RW_COUNT);
        Self {
            place: Place::One { addr, len },
            remaining: len,
            done: 0,
        }
    }

    /// User memory in pieces: EINVAL, ENOMEM.
    pub fn from_iovecs(iov: &[Iovec]) -> Result<Self> {
        let list = pieces(iov)?;
        let remaining = list.iter().map(|(_, len)| len).sum();
        Ok(Self {
            place: Place::Many { list, at: 0 },
            remaining,
            done: 0,
        })
    }

    /// Kernel memory.
    pub fn from_kernel(bytes: &'a [u8]) -> Self {
        let remaining = bytes.len();
        let place = Place::Kernel {
            bytes,
            at: 0,
            _life: core::marker::PhantomData,
        };
        Self {
            place,
            remaining,
            done: 0,
        }
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Gives no more than `len` further bytes; how many were cut off.
    pub fn truncate(&mut self, len: usize) -> usize {
        let cut = self.remaining.saturating_sub(len);
        self.remaining -= cut;
        cut
    }

    /// Makes (at least the beginning of) the next `len` bytes present, so that they can be copied without waiting:
    /// EFAULT if not even the first byte can be read.
    pub fn fault_in(&self, len: usize) -> Result<()> {
        let mut pieces: [(usize, usize); 1] = [(0, 0)];
        let list: &[(usize, usize)] = match &self.place {
            Place::Kernel { .. } => return Ok(()),
            Place::One { addr, len } => {
                pieces[0] = (*addr, *len);
                &pieces
            }
            Place::Many { list, at } => list.get(*at..).unwrap_or(&[]),
        };
        let mut left = len.min(self.remaining);
        for (index, (addr, piece)) in list.iter().enumerate() {
            let piece = (*piece).min(left);
            let mut at = *addr;
            let end = addr.saturating_add(piece);
            while at < end {
                if user::read(at, &mut [0]).is_err() {
                    return if index == 0 && at == *addr {
                        Err(Errno::EFAULT)
                    } else {
                        Ok(())
                    };
                }
                at = (at | (PAGE_SIZE - 1)).saturating_add(1);
            }
            left -= piece;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Copies into `bytes` as much as there is; how many. EFAULT only when nothing could be copied.
    pub fn take(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let len = bytes.len();
        let cell = core::cell::RefCell::new(bytes);
        self.drain(
            len,
            &mut |addr, at, n| user::read_partial(addr, &mut cell.borrow_mut()[at..at + n]),
            &mut |from, at| cell.borrow_mut()[at..at + from.len()].copy_from_slice(from),
        )
    }

    /// Copies `len` bytes to `off` in a frame, as far as there are so many.
    pub fn take_to_frame(&mut self, frame: &Frame, off: usize, len: usize) -> Result<usize> {
        self.drain(
            len,
            &mut |addr, at, n| frame.copy_from_user(off + at, addr, n),
            &mut |from, at| frame.write(off + at, from),
        )
    }

    fn drain(
        &mut self,
        len: usize,
        from_user: &mut dyn FnMut(usize, usize, usize) -> usize,
        from_kernel: &mut dyn FnMut(&[u8], usize),
    ) -> Result<usize> {
        let len = len.min(self.remaining);
        let mut moved = 0;
        while moved < len {
            let n = match &self.place {
                Place::Kernel { bytes, at, .. } => {
                    let n = len - moved;
                    from_kernel(&bytes[*at..*at + n], moved);
                    n
                }
                place => {
                    let Some((addr, room)) = front(place) else {
                        break;
                    };
                    let n = room.min(len - moved);
                    let copied = from_user(addr, moved, n);
                    if copied < n {
                        advance(&mut self.place, copied);
                        moved += copied;
                        if moved == 0 {
                            return Err(Errno::EFAULT);
                        }
                        self.remaining -= moved;
                        self.done += moved;
                        return Ok(moved);
                    }
                    n
                }
            };
            advance(&mut self.place, n);
            moved += n;
        }
        self.remaining -= moved;
        self.done += moved;
        Ok(moved)
    }
}
