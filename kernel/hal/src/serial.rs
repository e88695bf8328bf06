//! 16550 serial ports.

use alloc::boxed::Box;

/// A serial port.
pub struct Port {}

/// The port `n` (0 = COM1), if it is there.
pub fn port(_n: usize) -> Option<&'static Port> {
    todo!()
}

impl Port {
    /// Writes all bytes, waiting for the transmitter. Safe in interrupts.
    pub fn write(&self, _bytes: &[u8]) {
        todo!()
    }
    /// Sets who gets received bytes (interrupt context) and turns the receive interrupt on.
    pub fn set_rx_handler(&self, _handler: Box<dyn Fn(&[u8]) + Send + Sync>) {
        todo!()
    }
    /// Sets the speed in bits per second; 8N1.
    pub fn set_baud(&self, _baud: u32) {
        todo!()
    }
    /// The I/O port base.
    pub fn io_base(&self) -> u16 {
        todo!()
    }
    /// The ISA interrupt.
    pub fn irq(&self) -> u8 {
        todo!()
    }
}
