//! Request queues: the rings of `virtio-drivers`, with requests that own their memory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::asm;
use core::fmt;
use core::ptr::NonNull;
use core::slice;

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::{BufferDirection, Hal, PhysAddr as DmaAddr};

use super::device::{VirtioDevice, VirtioError, reset};
use super::transport::Registers;
use crate::addr::PhysAddr;
use crate::frame::{self, AllocFlags, Frame};
use crate::paging::{KernelStack, Mmio};
use crate::sync::IrqLock;

/// Most pieces of one request.
pub const MAX_SEGMENTS: usize = 130;

/// A piece of a request.
#[derive(Clone, Debug)]
pub struct DmaSeg {
    /// The memory.
    pub frame: Frame,
    /// Offset into the frame, in bytes.
    pub off: u32,
    /// Length in bytes, not 0; `off + len` lies within the frame.
    pub len: u32,
    /// The device writes it; else it reads it.
    pub device_writes: bool,
}

/// A request: first the pieces that the device reads, then those it writes; at most [`MAX_SEGMENTS`].
pub type DmaChain = Vec<DmaSeg>;

/// A finished request.
#[derive(Debug)]
pub struct Completion {
    /// What the submitter gave.
    pub cookie: u64,
    /// The memory comes back.
    pub chain: DmaChain,
    /// Bytes the device says it wrote; at most what the chain has room for.
    pub written: u32,
}

/// A request queue of a device. All methods are legal in interrupts.
pub struct Queue {
    inner: IrqLock<Inner>,
    notify: Mmio,
    index: u16,
    size: usize,
    device: Arc<VirtioDevice>,
}

struct Inner {
    ring: Box<dyn Ring>,
    /// Requests in flight, by the ring's token.
    pending: Vec<Option<(DmaChain, u64)>>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Queue({} of {:?}, size {})",
            self.index, self.device, self.size
        )
    }
}

impl Queue {
    pub(super) fn new(
        device: &Arc<VirtioDevice>,
        index: u16,
        size: u16,
        vector: u16,
    ) -> Result<Queue, VirtioError> {
        let mut state = device.state.lock();
        let registers = &mut state.registers;
        let notify = registers
            .notify_register(index)
            .ok_or(VirtioError::Unsupported)?;
        registers.queue_vector = vector;
        let made = on_large_stack(|| make_ring(registers, index, size));
        let (ring, size) = made.ok_or(VirtioError::NoMemory)??;
        if !registers.has_queue_vector(index, vector) {
            // The device ran out of resources for interrupts; the ring must not be freed under it.
            reset(registers);
            return Err(VirtioError::NoVector);
        }
        drop(state);
        let pending = (0..size).map(|_| None).collect();
        Ok(Queue {
            inner: IrqLock::new(Inner { ring, pending }),
            notify,
            index,
            size,
            device: Arc::clone(device),
        })
    }

    /// Queues a request; the device hears of it at the next [`kick`](Self::kick). `cookie` comes back
    /// with the completion. The chain is given back when the queue is full. Panics on a chain that is
    /// empty, too long, or has a piece outside its frame: a bug of the driver.
    pub fn submit(&self, chain: DmaChain, cookie: u64) -> Result<(), DmaChain> {
        check(&chain);
        let mut inner = self.inner.lock();
        let Inner { ring, pending } = &mut *inner;
        match ring.add(&chain) {
            Some(token) => {
                pending[usize::from(token)] = Some((chain, cookie));
                Ok(())
            }
            None => Err(chain),
        }
    }

    /// Tells the device of what was submitted, unless it is looking anyway.
    pub fn kick(&self) {
        let wanted = self.inner.lock().ring.should_notify();
        if wanted {
            self.notify.write(0, self.index);
        }
    }

    /// Takes the next finished request.
    pub fn pop(&self) -> Option<Completion> {
        let mut inner = self.inner.lock();
        let Inner { ring, pending } = &mut *inner;
        let token = ring.peek()?;
        // A token that was not handed out is a broken device's; its queue stands still from then on.
        let slot = pending.get_mut(usize::from(token))?;
        let written = ring.pop(token, &slot.as_ref()?.0)?;
        let (chain, cookie) = slot.take()?;
        let room = chain
            .iter()
            .filter(|seg| seg.device_writes)
            .map(|seg| seg.len);
        let written = written.min(room.fold(0, u32::saturating_add));
        Some(Completion {
            cookie,
            chain,
            written,
        })
    }

    /// How many more descriptors fit; a request takes one for each piece.
    pub fn free_slots(&self) -> usize {
        self.inner.lock().ring.free()
    }

    /// Descriptors in all.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Asks the device to interrupt, or not to, when it has finished requests. Only advice: check for
    /// finished requests after turning interrupts on.
    pub fn set_interrupts(&self, enable: bool) {
        self.inner.lock().ring.set_interrupts(enable);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Only a reset takes a ring from a device for sure. The device's other queues die with it.
        reset(&mut self.device.state.lock().registers);
    }
}

fn check(chain: &DmaChain) {
    assert!(
        !chain.is_empty() && chain.len() <= MAX_SEGMENTS,
        "chain of {} pieces",
        chain.len()
    );
    let mut writes = false;
    for seg in chain {
        let end = u64::from(seg.off) + u64::from(seg.len);
        assert!(
            seg.len > 0 && end <= seg.frame.size() as u64,
            "piece outside its frame"
        );
        assert!(
            seg.device_writes || !writes,
            "piece to read after one to write"
        );
        writes |= seg.device_writes;
    }
}

/// A ring of any size.
trait Ring: Send {
    /// Adds a checked chain; its token, or `None` when full.
    fn add(&mut self, chain: &DmaChain) -> Option<u16>;
    fn peek(&self) -> Option<u16>;
    /// Takes the finished `token`, whose chain is given; bytes written.
    fn pop(&mut self, token: u16, chain: &DmaChain) -> Option<u32>;
    fn should_notify(&self) -> bool;
    fn set_interrupts(&mut self, enable: bool);
    fn free(&self) -> usize;
}

/// Chains up to this length, which most are, take less room on the stack.
const FEW_SEGMENTS: usize = 8;

impl<const SIZE: usize> Ring for VirtQueue<Dma, SIZE> {
    fn add(&mut self, chain: &DmaChain) -> Option<u16> {
        if chain.len() <= FEW_SEGMENTS {
            add::<SIZE, FEW_SEGMENTS>(self, chain)
        } else {
            add::<SIZE, MAX_SEGMENTS>(self, chain)
        }
    }

    fn peek(&self) -> Option<u16> {
        self.peek_used()
    }

    fn pop(&mut self, token: u16, chain: &DmaChain) -> Option<u32> {
        if chain.len() <= FEW_SEGMENTS {
            pop::<SIZE, FEW_SEGMENTS>(self, token, chain)
        } else {
            pop::<SIZE, MAX_SEGMENTS>(self, token, chain)
        }
    }

    fn should_notify(&self) -> bool {
        VirtQueue::should_notify(self)
    }

    fn set_interrupts(&mut self, enable: bool) {
        self.set_dev_notify(enable);
    }

    fn free(&self) -> usize {
        self.available_desc()
    }
}

#[inline(never)]
fn add<const SIZE: usize, const N: usize>(
    ring: &mut VirtQueue<Dma, SIZE>,
    chain: &DmaChain,
) -> Option<u16> {
    let (mut inputs, mut outputs) = no_slices::<N>();
    let (reads, writes) = slices(chain, &mut inputs, &mut outputs);
    // SAFETY: the queue keeps the chain, and with it the memory, until `pop` returned the token or
    // the device has been reset; no references to frames' contents exist elsewhere.
    unsafe { ring.add(&inputs[..reads], &mut outputs[..writes]) }.ok()
}

#[inline(never)]
fn pop<const SIZE: usize, const N: usize>(
    ring: &mut VirtQueue<Dma, SIZE>,
    token: u16,
    chain: &DmaChain,
) -> Option<u32> {
    let (mut inputs, mut outputs) = no_slices::<N>();
    let (reads, writes) = slices(chain, &mut inputs, &mut outputs);
    // SAFETY: the same chain that `add` returned this token for.
    unsafe { ring.pop_used(token, &inputs[..reads], &mut outputs[..writes]) }.ok()
}

fn no_slices<'a, const N: usize>() -> ([&'a [u8]; N], [&'a mut [u8]; N]) {
    ([&[]; N], core::array::from_fn(|_| &mut [] as &mut [u8]))
}

/// Puts the chain into slices, what the device reads and what it writes, and returns how many of each.
/// They only carry addresses to `virtio-drivers`, which does not look at the contents.
fn slices<'a>(
    chain: &'a DmaChain,
    inputs: &mut [&'a [u8]],
    outputs: &mut [&'a mut [u8]],
) -> (usize, usize) {
    let (mut reads, mut writes) = (0, 0);
    for seg in chain {
        let va = (seg.frame.phys().direct() + seg.off as usize) as *mut u8;
        let len = seg.len as usize;
        if seg.device_writes {
            // SAFETY: `check` saw to it that the piece lies in its frame, which the chain keeps.
            outputs[writes] = unsafe { slice::from_raw_parts_mut(va, len) };
            writes += 1;
        } else {
            // SAFETY: as above.
            inputs[reads] = unsafe { slice::from_raw_parts(va, len) };
            reads += 1;
        }
    }
    (reads, writes)
}

/// Pages of stack for making a ring: `virtio-drivers` hands its tables around by value.
const RING_STACK_PAGES: usize = 32;

/// Runs `f` on a large stack of its own; `None` without memory for that. `f` must not sleep.
fn on_large_stack<R>(f: impl FnOnce() -> R) -> Option<R> {
    struct Call<F, R> {
        f: Option<F>,
        result: Option<R>,
    }
    extern "C" fn run<F: FnOnce() -> R, R>(call: &mut Call<F, R>) {
        call.result = call.f.take().map(|f| f());
    }
    fn entry_of<F: FnOnce() -> R, R>(_: &Call<F, R>) -> extern "C" fn(&mut Call<F, R>) {
        run::<F, R>
    }
    let stack = KernelStack::new(RING_STACK_PAGES)?;
    let mut call = Call {
        f: Some(f),
        result: None,
    };
    let entry = entry_of(&call);
    // SAFETY: the new stack is aligned, mapped and unused; `run` returns to here, where the old one
    // comes back from a register that it preserves. The closure does not unwind: panics abort.
    unsafe {
        asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {entry}",
            "mov rsp, r12",
            top = in(reg) stack.top(),
            entry = in(reg) entry,
            in("rdi") &raw mut call,
            out("r12") _,
            clobber_abi("C"),
        );
    }
    call.result
}

/// Makes the largest ring up to `size`.
fn make_ring(
    registers: &mut Registers,
    index: u16,
    size: u16,
) -> Result<(Box<dyn Ring>, usize), VirtioError> {
    // Each size has a frame of its own: the largest take several pages of the stack.
    #[inline(never)]
    fn ring<const SIZE: usize>(
        registers: &mut Registers,
        index: u16,
    ) -> Result<(Box<dyn Ring>, usize), VirtioError> {
        use virtio_drivers::Error;
        // Indirect descriptors would need an allocation for each request, which `virtio-drivers`
        // takes for granted; event indices are compared there without regard to wrapping.
        match VirtQueue::<Dma, SIZE>::new(registers, index, false, false) {
            Ok(queue) => Ok((Box::new(queue), SIZE)),
            Err(Error::DmaError) => Err(VirtioError::NoMemory),
            Err(_) => Err(VirtioError::NoQueue),
        }
    }
    match size {
        512.. => ring::<512>(registers, index),
        256.. => ring::<256>(registers, index),
        128.. => ring::<128>(registers, index),
        64.. => ring::<64>(registers, index),
        32.. => ring::<32>(registers, index),
        16.. => ring::<16>(registers, index),
        8.. => ring::<8>(registers, index),
        4.. => ring::<4>(registers, index),
        2.. => ring::<2>(registers, index),
        _ => Err(VirtioError::NoQueue),
    }
}

/// Memory for rings, as `virtio-drivers` asks for it.
struct Dma;

// SAFETY: memory comes from the frame allocator, page-aligned, zeroed and owned until it is given
// back; `share` translates addresses of the direct map, which is all that is ever passed.
unsafe impl Hal for Dma {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (DmaAddr, NonNull<u8>) {
        let order = pages.next_power_of_two().trailing_zeros();
        let block = frame::alloc_block(order, AllocFlags::ZERO).map(PhysAddr::from_pfn);
        // Address 0 means failure.
        let phys = block.unwrap_or_default();
        match NonNull::new(phys.direct() as *mut u8) {
            Some(va) => (phys.0, va),
            None => unreachable!("the direct map is not at address 0"),
        }
    }

    unsafe fn dma_dealloc(paddr: DmaAddr, _vaddr: NonNull<u8>, pages: usize) -> i32 {
        let order = pages.next_power_of_two().trailing_zeros();
        // SAFETY: by the caller's promise it came from `dma_alloc` with as many pages; the queue
        // has reset the device.
        unsafe { frame::free_block(PhysAddr(paddr).pfn(), order) };
        0
    }

    unsafe fn mmio_phys_to_virt(_paddr: DmaAddr, _size: usize) -> NonNull<u8> {
        unreachable!("the registers are mapped by our own transport")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> DmaAddr {
        match PhysAddr::from_kernel_va(buffer.cast::<u8>().as_ptr() as usize) {
            Some(phys) => phys.0,
            None => unreachable!("requests are made of frames"),
        }
    }

    unsafe fn unshare(_paddr: DmaAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {
        // The device works on the memory itself.
    }
}
