//! Character devices: terminals, memory devices, misc devices, clocks.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::Result;
use keel_procfs::{DevNo, put};

use crate::attr::Attrs;
use crate::device::{Device, DeviceNode};
use crate::registry::{Id, Registry};

/// A character device of a class, with nothing but its number.
fn plain(class: &str, name: &str, dev: DevNo, mode: Option<u16>) -> Device {
    let mut device = Device::class(class, name, None);
    device.node = Some(DeviceNode {
        dev,
        block: false,
        path: name.to_string(),
        mode,
    });
    device
}

/// Permissions of the memory devices that everybody may use (`drivers/char/mem` on Linux).
const MEM_MODES: [(&str, u16); 6] = [
    ("null", 0o666),
    ("zero", 0o666),
    ("full", 0o666),
    ("random", 0o666),
    ("urandom", 0o666),
    ("kmsg", 0o644),
];

/// A serial port's registers: the attributes of `ttySN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Serial {
    pub line: u32,
    pub port: u32,
    pub irq: u32,
    /// `PORT_*`: 4 for a 16550A.
    pub kind: u32,
    pub uart_clock: u32,
    pub fifo: u32,
    pub console: bool,
}

/// What `/sys/class/tty/console/active` and `tty0/active` say.
pub trait ConsoleSource: Send + Sync {
    /// Names of the consoles, least important first.
    fn active(&self) -> Vec<String>;
}

/// What a clock's files say.
pub trait RtcSource: Send + Sync {
    /// Seconds since the epoch.
    fn now(&self) -> Result<u64>;
}

impl Registry {
    /// Adds a device of class `mem`: null, zero, … Errors: as [`Registry::add_device`].
    pub fn add_mem(&mut self, name: &str, dev: DevNo) -> Result<Id> {
        let mode = MEM_MODES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, mode)| *mode);
        self.add_device(plain("mem", name, dev, mode))
    }

    /// Adds a device of class `misc`; `path` is its node if that is not its name (`net/tun`). Errors: as
    /// [`Registry::add_device`].
    pub fn add_misc(
        &mut self,
        name: &str,
        dev: DevNo,
        path: Option<&str>,
        mode: Option<u16>,
    ) -> Result<Id> {
        let mut device = plain("misc", name, dev, mode);
        if let (Some(node), Some(path)) = (&mut device.node, path) {
            node.path = path.to_string();
        }
        self.add_device(device)
    }

    /// Adds a terminal without a device behind it: tty, ptmx, tty0, tty1, … Errors: as [`Registry::add_device`].
    pub fn add_tty(&mut self, name: &str, dev: DevNo) -> Result<Id> {
        let mode = matches!(name, "tty" | "ptmx").then_some(0o666);
        self.add_device(plain("tty", name, dev, mode))
    }

    /// Adds `/dev/console`. Errors: as [`Registry::add_device`].
    pub fn add_console(&mut self, dev: DevNo, source: Arc<dyn ConsoleSource>) -> Result<Id> {
        let mut device = plain("tty", "console", dev, None);
        device.attrs = Attrs::new().value("active", move || source.active().join(" "));
        self.add_device(device)
    }

    /// Adds a serial port below the device that it is. Errors: as [`Registry::add_device`].
    pub fn add_serial(&mut self, parent: Id, dev: DevNo, serial: Serial) -> Result<Id> {
        /// `close_delay` and `closing_wait`, in hundredths of a second.
        const CLOSE_DELAY: (u32, u32) = (50, 3000);
        /// `UPF_BOOT_AUTOCONF | UPF_SKIP_TEST`.
        const FLAGS: &str = "0x10000040";
        let mut device = plain("tty", &format!("ttyS{}", serial.line), dev, None);
        device.parent = Some(parent);
        device.attrs = Attrs::new()
            .fixed("line", serial.line)
            .fixed("type", serial.kind)
            .fixed(
                "port",
                format!("{:#X}", serial.port).replacen("0X", "0x", 1),
            )
            .fixed("irq", serial.irq)
            .fixed("uartclk", serial.uart_clock)
            .fixed("xmit_fifo_size", serial.fifo)
            .fixed("io_type", 0)
            .fixed("iomem_base", "0x0")
            .fixed("iomem_reg_shift", 0)
            .fixed("custom_divisor", 0)
            .fixed("flags", FLAGS)
            .fixed("close_delay", CLOSE_DELAY.0)
            .fixed("closing_wait", CLOSE_DELAY.1)
            .fixed("console", if serial.console { "Y" } else { "N" });
        self.add_device(device)
    }

    /// A device on the platform bus, such as `serial8250` or `rtc_cmos`. Errors: as [`Registry::add_device`].
    pub fn add_platform(&mut self, name: &str, driver: Option<&str>) -> Result<Id> {
        let root = self.find("devices/platform")?;
        let modalias = format!("platform:{name}");
        let mut device = Device::bus("platform", name, Some(root));
        device.driver = driver.map(ToString::to_string);
        device.vars = alloc::vec![("MODALIAS".to_string(), modalias.clone())];
        device.attrs = Attrs::new().fixed("modalias", modalias);
        self.add_device(device)
    }

    /// Adds a clock: `/dev/rtcN`. Errors: as [`Registry::add_device`].
    pub fn add_rtc(
        &mut self,
        parent: Id,
        index: u32,
        driver: &str,
        dev: DevNo,
        source: Arc<dyn RtcSource>,
    ) -> Result<Id> {
        let mut device = plain("rtc", &format!("rtc{index}"), dev, None);
        device.parent = Some(parent);
        let (epoch, date, time) = (source.clone(), source.clone(), source);
        device.attrs = Attrs::new()
            .fixed("name", driver)
            .fixed("hctosys", u8::from(index == 0))
            .fixed("max_user_freq", 64)
            .show("since_epoch", move |out| put!(out, "{}\n", epoch.now()?))
            .show("date", move |out| {
                let (year, month, day) = civil(date.now()? / SECONDS_PER_DAY);
                put!(out, "{year:04}-{month:02}-{day:02}\n")
            })
            .show("time", move |out| {
                let second = time.now()? % SECONDS_PER_DAY;
                put!(
                    out,
                    "{:02}:{:02}:{:02}\n",
                    second / 3600,
                    second / 60 % 60,
                    second % 60
                )
            });
        self.add_device(device)
    }
}

const SECONDS_PER_DAY: u64 = 86_400;

/// The Gregorian date of a day since 1970-01-01, by counting eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    /// Days of 400 years.
    const ERA: u64 = 146_097;
    let days = days + EPOCH;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(59), (1970, 3, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
        assert_eq!(civil(47_541), (2100, 3, 1));
    }
}
