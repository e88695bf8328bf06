//! The tables of drivers and users: filesystems, devices, misc, consoles, modules, kallsyms, tty, cgroups,
//! keys, crypto, execdomains, rtc, input.

use keel_abi::Result;

use crate::put;
use crate::source::{CgroupController, Console, InputDevice, Key, KeyUser, Module, System};
use crate::source::{SerialPort, TtyDriver};
use crate::text::Text;

/// Letters for a row of flags, `gap` for those that are off.
fn letters<const N: usize>(
    flags: [bool; N],
    names: [char; N],
    gap: char,
    out: &mut Text,
) -> Result<()> {
    flags
        .into_iter()
        .zip(names)
        .try_for_each(|(on, name)| put!(out, "{}", if on { name } else { gap }))
}

pub(crate) fn read_filesystems(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.filesystems().iter().try_for_each(|fs| {
        put!(
            out,
            "{}\t{}\n",
            if fs.needs_device { "" } else { "nodev" },
            fs.name
        )
    })
}

pub(crate) fn read_devices(sys: &dyn System, out: &mut Text) -> Result<()> {
    let devices = sys.devices();
    out.str("Character devices:\n")?;
    devices
        .character
        .iter()
        .try_for_each(|(major, name)| put!(out, "{major:3} {name}\n"))?;
    out.str("\nBlock devices:\n")?;
    devices
        .block
        .iter()
        .try_for_each(|(major, name)| put!(out, "{major:3} {name}\n"))
}

pub(crate) fn read_misc(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.misc()
        .iter()
        .try_for_each(|(minor, name)| put!(out, "{minor:3} {name}\n"))
}

pub(crate) fn read_consoles(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.consoles().iter().try_for_each(|c| console(c, out))
}

/// One line of `/proc/consoles`: name, what it can, its flags, its number.
pub fn console(c: &Console, out: &mut Text) -> Result<()> {
    put!(out, "{:<21}", c.name)?;
    letters([c.read, c.write, c.unblank], ['R', 'W', 'U'], '-', out)?;
    out.str(" (")?;
    letters(c.flags, ['E', 'C', 'B', 'p', 'b', 'a'], ' ', out)?;
    out.str(")")?;
    if let Some(dev) = c.dev {
        put!(out, " {:4}:{}", dev.major, dev.minor)?;
    }
    out.str("\n")
}

pub(crate) fn read_modules(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.modules().iter().try_for_each(|m| module(m, out))
}

/// One line of proc_modules(5).
pub fn module(m: &Module, out: &mut Text) -> Result<()> {
    put!(out, "{} {} {} ", m.name, m.size, m.references)?;
    if m.users.is_empty() {
        out.str("-")?;
    }
    m.users.iter().try_for_each(|user| put!(out, "{user},"))?;
    put!(out, " {} 0x{:016x}", m.state, m.address)?;
    if !m.taint.is_empty() {
        put!(out, " ({})", m.taint)?;
    }
    out.str("\n")
}

pub(crate) fn read_kallsyms(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.kallsyms(&mut |address, kind, name| put!(out, "{address:016x} {kind} {name}\n"))
}

pub(crate) fn read_tty_drivers(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.tty_drivers()
        .iter()
        .try_for_each(|d| tty_driver(d, out))
}

/// One line of `/proc/tty/drivers`.
pub fn tty_driver(d: &TtyDriver, out: &mut Text) -> Result<()> {
    put!(out, "{:<20} {:<13} {:3} ", d.driver, d.node, d.major)?;
    let (first, last) = d.minors;
    if first == last {
        put!(out, "{first:7} {}\n", d.kind)
    } else {
        put!(out, "{first}-{last} {}\n", d.kind)
    }
}

pub(crate) fn read_tty_ldiscs(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.tty_ldiscs()
        .iter()
        .try_for_each(|(name, number)| put!(out, "{name:<10} {number:2}\n"))
}

pub(crate) fn read_serial(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str("serinfo:1.0 driver revision:\n")?;
    sys.serial_ports()
        .iter()
        .try_for_each(|port| serial(port, out))
}

fn serial(p: &SerialPort, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{}: uart:{} port:{:08X} irq:{}",
        p.line,
        p.uart,
        p.port,
        p.irq
    )?;
    put!(out, " tx:{} rx:{}", p.tx, p.rx)?;
    for (index, signal) in p.signals.iter().enumerate() {
        put!(out, "{}{signal}", if index == 0 { " " } else { "|" })?;
    }
    out.str("\n")
}

pub(crate) fn read_cgroups(sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str("#subsys_name\thierarchy\tnum_cgroups\tenabled\n")?;
    sys.cgroup_controllers()
        .iter()
        .try_for_each(|c| cgroup(c, out))
}

fn cgroup(c: &CgroupController, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{}\t{}\t{}\t{}\n",
        c.name,
        c.hierarchy,
        c.groups,
        u8::from(c.enabled)
    )
}

pub(crate) fn read_key_users(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.key_users()
        .iter()
        .try_for_each(|user| key_user(user, out))
}

/// One line of `/proc/key-users` (keyrings(7)).
pub fn key_user(u: &KeyUser, out: &mut Text) -> Result<()> {
    put!(
        out,
        "{:5}: {:5} {}/{}",
        u.uid,
        u.usage,
        u.keys,
        u.instantiated
    )?;
    put!(
        out,
        " {}/{} {}/{}\n",
        u.quota_keys,
        u.max_keys,
        u.quota_bytes,
        u.max_bytes
    )
}

pub(crate) fn read_keys(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.keys().iter().try_for_each(|k| key(k, out))
}

/// One line of `/proc/keys` (keyrings(7)).
pub fn key(k: &Key, out: &mut Text) -> Result<()> {
    put!(out, "{:08x} ", k.serial)?;
    letters(k.flags, ['I', 'R', 'D', 'Q', 'U', 'N', 'i'], '-', out)?;
    put!(
        out,
        " {:5} {:>4} {:08x} {:5} {:5} {:<9} ",
        k.usage,
        k.timeout,
        k.perm,
        k.uid,
        k.gid,
        k.kind
    )?;
    out.bytes(&k.description)?;
    out.str("\n")
}

pub(crate) fn read_crypto(sys: &dyn System, out: &mut Text) -> Result<()> {
    for algorithm in sys.crypto() {
        algorithm
            .iter()
            .try_for_each(|(name, value)| put!(out, "{name:<13}: {value}\n"))?;
        out.str("\n")?;
    }
    Ok(())
}

pub(crate) fn read_execdomains(_sys: &dyn System, out: &mut Text) -> Result<()> {
    out.str("0-0\tLinux           \t[kernel]\n")
}

pub(crate) fn read_rtc(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.rtc()
        .iter()
        .try_for_each(|(name, value)| put!(out, "{name}\t: {value}\n"))
}

pub(crate) fn read_input_devices(sys: &dyn System, out: &mut Text) -> Result<()> {
    sys.input_devices()
        .iter()
        .try_for_each(|device| input_device(device, out))
}

/// One block of `/proc/bus/input/devices`.
pub fn input_device(d: &InputDevice, out: &mut Text) -> Result<()> {
    let [bus, vendor, product, version] = d.id;
    put!(
        out,
        "I: Bus={bus:04x} Vendor={vendor:04x} Product={product:04x} Version={version:04x}\n"
    )?;
    put!(
        out,
        "N: Name=\"{}\"\nP: Phys={}\nS: Sysfs={}\n",
        d.name,
        d.phys,
        d.sysfs
    )?;
    put!(out, "U: Uniq={}\nH: Handlers=", d.uniq)?;
    d.handlers
        .iter()
        .try_for_each(|handler| put!(out, "{handler} "))?;
    out.str("\n")?;
    d.bits
        .iter()
        .try_for_each(|(name, value)| put!(out, "B: {name}={value}\n"))?;
    out.str("\n")
}

pub(crate) fn write_sysrq(sys: &dyn System, data: &[u8]) -> Result<()> {
    // Linux takes the first letter only, unless the write begins with an underscore.
    let commands = match data {
        [b'_', rest @ ..] => rest,
        _ => data.get(..1).unwrap_or(data),
    };
    sys.sysrq(commands)
}
