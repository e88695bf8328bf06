//! virtio entropy devices (Virtual I/O Device 1.2, 5.4): feed the kernel's random numbers at start and every few
//! minutes.

use keel_hal::virtio::{self, DeviceType, DmaSeg, Queue, VirtioDevice, VirtioError};

use crate::prelude::*;
use crate::time::NSEC_PER_SEC;

/// Bytes asked for at a time.
const BYTES: u32 = 64;
/// How often more is asked for.
const INTERVAL_NS: u64 = 300 * NSEC_PER_SEC;

/// Finds the devices and starts to use them.
pub fn init() {
    for device in virtio::devices()
        .iter()
        .filter(|d| d.kind == DeviceType::EntropySource)
    {
        if let Err(error) = probe(device) {
            log::error!("virtio_rng {}: {error:?}", device.pci.bdf());
        }
    }
}

fn probe(device: &Arc<VirtioDevice>) -> core::result::Result<(), VirtioError> {
    device.begin(0)?;
    let queue: Arc<OnceLock<Queue>> = Arc::new(OnceLock::new());
    let handler = {
        let queue = queue.clone();
        Box::new(move || {
            if let Some(queue) = queue.get() {
                collect(queue);
            }
        })
    };
    let ring = device.setup_queue(0, 8, handler, 0)?;
    queue.call_once(|| ring);
    device.finish();
    if let Some(queue) = queue.get() {
        ask(queue);
    }
    crate::sched::spawn_kthread("hwrng", move || {
        loop {
            crate::time::sleep_ns(INTERVAL_NS);
            if let Some(queue) = queue.get() {
                ask(queue);
            }
        }
    });
    Ok(())
}

/// Asks for bytes. What is still outstanding when the ring is full will do.
fn ask(queue: &Queue) {
    if let Some(frame) = Frame::alloc(AllocFlags::ZERO)
        && queue
            .submit(
                vec![DmaSeg {
                    frame,
                    off: 0,
                    len: BYTES,
                    device_writes: true,
                }],
                0,
            )
            .is_ok()
    {
        queue.kick();
    }
}

/// Takes the bytes that have come. In the interrupt.
fn collect(queue: &Queue) {
    while let Some(completion) = queue.pop() {
        let mut bytes = [0; BYTES as usize];
        let n = bytes.len().min(completion.written as usize);
        if let Some(seg) = completion.chain.first() {
            seg.frame.read(0, &mut bytes[..n]);
            seg.frame.fill(0, bytes.len(), 0);
        }
        crate::random::mix(&bytes[..n]);
    }
}
