//! Devices, and the links by which programs find them.
//!
//! A device is a directory below `/sys/devices`; its subsystem (a bus or a class), its number and its driver each
//! give it a link elsewhere. Where the directory is (the kernel's `get_device_parent`):
//!
//! - on a bus: directly below its parent, or below `/sys/devices`;
//! - in a class, with a parent of the same kind (a partition of a disk): directly below it;
//! - in a class, with a parent on a bus: below a directory of the class's name (`virtio1/block/vda`);
//! - in a class, without a parent: `/sys/devices/virtual/CLASS/NAME`.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use keel_abi::{Errno, Result};

use crate::DevNo;
use crate::attr::{Attrs, Content};
use crate::registry::{Id, Registry};
use crate::uevent::{Action, Identity, UeventFile};

/// What kind of device it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subsystem {
    /// On a bus: `/sys/bus/NAME/devices`.
    Bus(String),
    /// In a class: `/sys/class/NAME`.
    Class(String),
    /// Neither: a root such as `pci0000:00`.
    None,
}

impl Subsystem {
    fn name(&self) -> &str {
        match self {
            Subsystem::Bus(name) | Subsystem::Class(name) => name,
            Subsystem::None => "",
        }
    }
}

/// The node in `/dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its number.
    pub dev: DevNo,
    /// A block device, not a character device.
    pub block: bool,
    /// Its path below `/dev`.
    pub path: String,
    /// Permissions, where they are not root's alone: `DEVMODE`.
    pub mode: Option<u16>,
}

/// A device to be added.
#[derive(Clone)]
pub struct Device {
    /// Name of its directory; a slash becomes `!`.
    pub name: String,
    /// The device that it hangs on.
    pub parent: Option<Id>,
    /// Bus or class.
    pub subsystem: Subsystem,
    /// Node in `/dev`.
    pub node: Option<DeviceNode>,
    /// `DEVTYPE`, e.g. `disk` or `partition`.
    pub kind: Option<String>,
    /// Its driver; a bus device only.
    pub driver: Option<String>,
    /// What the subsystem adds to `uevent`.
    pub vars: Vec<(String, String)>,
    /// Its attributes.
    pub attrs: Attrs,
}

impl Device {
    /// A device with nothing but its name and place.
    pub fn new(name: impl Into<String>, subsystem: Subsystem, parent: Option<Id>) -> Self {
        Device {
            name: name.into(),
            parent,
            subsystem,
            node: None,
            kind: None,
            driver: None,
            vars: Vec::new(),
            attrs: Attrs::new(),
        }
    }

    /// A device of a class.
    pub fn class(class: &str, name: impl Into<String>, parent: Option<Id>) -> Self {
        Device::new(name, Subsystem::Class(class.to_owned()), parent)
    }

    /// A device on a bus.
    pub fn bus(bus: &str, name: impl Into<String>, parent: Option<Id>) -> Self {
        Device::new(name, Subsystem::Bus(bus.to_owned()), parent)
    }

    /// The lines of `uevent`, in the order of the kernel's `dev_uevent`.
    fn uevent_vars(&self) -> Vec<(String, String)> {
        let mut vars = Vec::new();
        let mut add = |key: &str, value: String| vars.push((key.to_owned(), value));
        if let Some(node) = &self.node {
            add("MAJOR", node.dev.major.to_string());
            add("MINOR", node.dev.minor.to_string());
            add("DEVNAME", node.path.clone());
            if let Some(mode) = node.mode {
                add("DEVMODE", format!("{mode:#o}").replacen("0o", "0", 1));
            }
        }
        if let Some(kind) = &self.kind {
            add("DEVTYPE", kind.clone());
        }
        if let Some(driver) = &self.driver {
            add("DRIVER", driver.clone());
        }
        vars.extend(self.vars.iter().cloned());
        vars
    }
}

/// What must go when a device goes, and what its uevents say.
pub(crate) struct DeviceRecord {
    identity: Arc<Identity>,
    /// In a class: where its own children go.
    class: bool,
    /// Links elsewhere.
    links: Vec<Id>,
    /// The directory of the class's name that was made for it, if it was.
    glue: Option<Id>,
}

impl Registry {
    /// The directory of a bus, made if it is not there.
    pub fn bus(&mut self, name: &str) -> Result<Id> {
        let bus = self.make_path(Id::ROOT, &format!("bus/{name}"))?;
        self.make_path(bus, "devices")?;
        self.make_path(bus, "drivers")?;
        Ok(bus)
    }

    /// The directory of a class, made if it is not there.
    pub fn class(&mut self, name: &str) -> Result<Id> {
        self.make_path(Id::ROOT, &format!("class/{name}"))
    }

    /// The directory of a driver, made if it is not there.
    pub fn driver(&mut self, bus: &str, name: &str) -> Result<Id> {
        let bus = self.bus(bus)?;
        self.make_path(bus, &format!("drivers/{name}"))
    }

    /// Adds a device with its links and says so to the uevent sink. Errors: `EEXIST`, `ENOENT`, `EINVAL`.
    pub fn add_device(&mut self, device: Device) -> Result<Id> {
        let name = device.name.replace('/', "!");
        let (parent, glue) = self.device_parent(&device)?;
        let id = match self.make_dir(parent, &name) {
            Ok(id) => id,
            Err(error) => {
                self.remove_empty(glue);
                return Err(error);
            }
        };
        let identity = Arc::new(Identity {
            path: self.path(id)?,
            subsystem: device.subsystem.name().to_owned(),
            vars: device.uevent_vars(),
        });
        let record = DeviceRecord {
            identity,
            class: matches!(device.subsystem, Subsystem::Class(_)),
            links: Vec::new(),
            glue,
        };
        self.devices.insert(id, record);
        if let Err(error) = self.furnish(id, &name, device) {
            self.forget_device(id);
            return Err(error);
        }
        self.send_uevent(id, Action::Add)?;
        Ok(id)
    }

    /// Where a device's directory goes, and the directory of its class if it is below one.
    fn device_parent(&mut self, device: &Device) -> Result<(Id, Option<Id>)> {
        match (&device.subsystem, device.parent) {
            (Subsystem::Class(class), None) => Ok((
                self.make_path(Id::ROOT, &format!("devices/virtual/{class}"))?,
                None,
            )),
            (Subsystem::Class(class), Some(parent)) => {
                if self.devices.get(&parent).is_some_and(|record| record.class) {
                    return Ok((parent, None));
                }
                let glue = self.make_path(parent, class)?;
                Ok((glue, Some(glue)))
            }
            (_, Some(parent)) => Ok((parent, None)),
            (_, None) => Ok((self.find("devices")?, None)),
        }
    }

    /// Attributes and links of a new device.
    fn furnish(&mut self, id: Id, name: &str, device: Device) -> Result<()> {
        let uevent = match self.devices.get(&id) {
            Some(record) => UeventFile {
                identity: record.identity.clone(),
                uevents: self.uevents.clone(),
            },
            None => return Err(Errno::ENOENT),
        };
        self.add_attribute(id, "uevent", 0o644, Content::Text(Arc::new(uevent)))?;
        if let Some(node) = &device.node {
            let number = format!("{}:{}", node.dev.major, node.dev.minor);
            self.add_attributes(id, Attrs::new().fixed("dev", &number))?;
            let kind = if node.block { "dev/block" } else { "dev/char" };
            let dir = self.find(kind)?;
            self.link_from(id, dir, &number)?;
        }
        match &device.subsystem {
            Subsystem::Class(class) => {
                let dir = self.class(class)?;
                self.add_link(id, "subsystem", dir)?;
                self.link_from(id, dir, name)?;
                let below_own_kind =
                    |parent: &Id| self.devices.get(parent).is_some_and(|record| record.class);
                if let Some(parent) = device.parent.filter(|parent| !below_own_kind(parent)) {
                    self.add_link(id, "device", parent)?;
                }
            }
            Subsystem::Bus(bus) => {
                let dir = self.bus(bus)?;
                self.add_link(id, "subsystem", dir)?;
                let devices = self.lookup(dir, b"devices")?;
                self.link_from(id, devices, name)?;
                if let Some(driver) = &device.driver {
                    let driver = self.driver(bus, driver)?;
                    self.add_link(id, "driver", driver)?;
                    self.link_from(id, driver, name)?;
                }
            }
            Subsystem::None => {}
        }
        self.add_attributes(id, device.attrs)
    }

    /// A link to a device that goes when the device goes. Errors: as [`Self::add_link`].
    pub fn link_from(&mut self, device: Id, dir: Id, name: &str) -> Result<()> {
        let link = self.add_link(dir, name, device)?;
        if let Some(record) = self.devices.get_mut(&device) {
            record.links.push(link);
        }
        Ok(())
    }

    /// Sends a uevent about a device. Errors: `ENOENT` if it is none, `ENOMEM`.
    pub fn send_uevent(&self, device: Id, action: Action) -> Result<()> {
        let record = self.devices.get(&device).ok_or(Errno::ENOENT)?;
        record.identity.send(&self.uevents, action, &[])
    }

    /// Takes a device away after saying so; its children first. Errors: `ENOENT`.
    pub fn remove_device(&mut self, device: Id) -> Result<()> {
        if !self.devices.contains_key(&device) {
            return Err(Errno::ENOENT);
        }
        let path = format!("{}/", self.path(device)?);
        let mut children: Vec<(usize, Id)> = self
            .devices
            .iter()
            .filter(|(_, record)| record.identity.path.starts_with(&path))
            .map(|(id, record)| (record.identity.path.len(), *id))
            .collect();
        children.sort_unstable_by(|a, b| b.cmp(a));
        for id in children.into_iter().map(|(_, id)| id).chain([device]) {
            self.send_uevent(id, Action::Remove)?;
            self.forget_device(id);
        }
        Ok(())
    }

    fn forget_device(&mut self, device: Id) {
        let Some(record) = self.devices.remove(&device) else {
            return;
        };
        for link in record.links {
            // A link that is gone already is what is wanted.
            let _ = self.remove(link);
        }
        let _ = self.remove(device);
        self.remove_empty(record.glue);
    }

    /// Removes a class's directory below a device once nothing is in it.
    fn remove_empty(&mut self, glue: Option<Id>) {
        let Some(glue) = glue else { return };
        let mut empty = true;
        let listed = self.readdir(glue, 0, &mut |_| {
            empty = false;
            false
        });
        if listed.is_ok() && empty {
            let _ = self.remove(glue);
        }
    }
}
