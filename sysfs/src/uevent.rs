//! Uevents: what the kernel tells udev about devices, and the `uevent` file of each.
//!
//! The message is that of netlink(7) NETLINK_KOBJECT_UEVENT: `ACTION@DEVPATH`, then `KEY=value` strings, each with a
//! NUL. Writing an action to the file sends it again (the kernel's `Documentation/ABI/testing/sysfs-uevent`).

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use keel_abi::{Errno, Result};
use keel_procfs::{Text, put};

use crate::attr::Attribute;

/// What happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    Add,
    Remove,
    Change,
    Move,
    Online,
    Offline,
    Bind,
    Unbind,
}

impl Action {
    const ALL: [Action; 8] = [
        Action::Add,
        Action::Remove,
        Action::Change,
        Action::Move,
        Action::Online,
        Action::Offline,
        Action::Bind,
        Action::Unbind,
    ];

    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Add => "add",
            Action::Remove => "remove",
            Action::Change => "change",
            Action::Move => "move",
            Action::Online => "online",
            Action::Offline => "offline",
            Action::Bind => "bind",
            Action::Unbind => "unbind",
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uevent {
    /// What happened.
    pub action: Action,
    /// Its number.
    pub seqnum: u64,
    /// The bytes to send to the netlink group.
    pub message: Vec<u8>,
}

/// Where uevents go: the kernel's netlink broadcast.
pub trait UeventSink: Send + Sync {
    /// Sends a message to all network namespaces' listeners. Must not use the registry.
    fn send(&self, event: &Uevent);
}

/// The counter and the sink.
pub(crate) struct Uevents {
    last: AtomicU64,
    sink: Arc<dyn UeventSink>,
}

impl Uevents {
    pub fn new(sink: Arc<dyn UeventSink>) -> Self {
        Uevents {
            last: AtomicU64::new(0),
            sink,
        }
    }

    /// Number of the last message: `/sys/kernel/uevent_seqnum`.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// What a device's uevents say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub path: String,
    pub subsystem: String,
    /// The lines of its `uevent` file.
    pub vars: Vec<(String, String)>,
}

impl Identity {
    /// Makes and sends a message; `extra` are the variables of one made by a write. Errors: `ENOMEM`.
    pub fn send(
        &self,
        uevents: &Uevents,
        action: Action,
        extra: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        let seqnum = uevents.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut text = Text::new();
        let name = action.name();
        put!(
            text,
            "{name}@{path}\0ACTION={name}\0DEVPATH={path}\0",
            path = self.path
        )?;
        put!(text, "SUBSYSTEM={}\0", self.subsystem)?;
        for (key, value) in extra {
            text.bytes(key)?;
            text.str("=")?;
            text.bytes(value)?;
            text.str("\0")?;
        }
        for (key, value) in &self.vars {
            put!(text, "{key}={value}\0")?;
        }
        put!(text, "SEQNUM={seqnum}\0")?;
        uevents.sink.send(&Uevent {
            action,
            seqnum,
            message: text.into_vec(),
        });
        Ok(())
    }
}

/// The `uevent` file of a device.
pub(crate) struct UeventFile {
    pub identity: Arc<Identity>,
    pub uevents: Arc<Uevents>,
}

impl Attribute for UeventFile {
    fn show(&self, out: &mut Text) -> Result<()> {
        self.identity
            .vars
            .iter()
            .try_for_each(|(key, value)| put!(out, "{key}={value}\n"))
    }

    fn store(&self, data: &[u8]) -> Result<()> {
        let (action, extra) = parse(data)?;
        self.identity.send(&self.uevents, action, &extra)
    }
}

type Vars = Vec<(Vec<u8>, Vec<u8>)>;

/// `ACTION [UUID [KEY=VALUE …]]`. Errors: `EINVAL`.
fn parse(data: &[u8]) -> Result<(Action, Vars)> {
    let mut words = data
        .trim_ascii()
        .split(|&b| b == b' ')
        .filter(|word| !word.is_empty());
    let word = words.next().ok_or(Errno::EINVAL)?;
    let action = Action::ALL
        .into_iter()
        .find(|action| action.name().as_bytes() == word)
        .ok_or(Errno::EINVAL)?;
    let uuid = words.next();
    if uuid.is_some_and(|uuid| !is_uuid(uuid)) {
        return Err(Errno::EINVAL);
    }
    let mut vars = alloc::vec![(b"SYNTH_UUID".to_vec(), uuid.unwrap_or(b"0").to_vec())];
    for word in words {
        let equals = word.iter().position(|&b| b == b'=').ok_or(Errno::EINVAL)?;
        let (key, value) = word.split_at(equals);
        let value = value.get(1..).unwrap_or(&[]);
        let alphanumeric = |text: &[u8]| text.iter().all(u8::is_ascii_alphanumeric);
        if key.is_empty() || !alphanumeric(key) || !alphanumeric(value) {
            return Err(Errno::EINVAL);
        }
        vars.push(([b"SYNTH_ARG_", key].concat(), value.to_vec()));
    }
    Ok((action, vars))
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
