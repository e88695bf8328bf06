//! Attributes: small files whose text is made when they are read.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Display;

use keel_abi::{Errno, Result};
use keel_procfs::{Text, put};

/// A text attribute; at most a page of text.
pub trait Attribute: Send + Sync {
    /// Appends the text, its newline included. Errors: what read(2) shall return; `EIO` if it cannot be read.
    fn show(&self, out: &mut Text) -> Result<()>;

    /// Takes what was written. Errors: what write(2) shall return; `EIO` if it cannot be written.
    fn store(&self, _data: &[u8]) -> Result<()> {
        Err(Errno::EIO)
    }
}

/// An attribute of bytes that are read and written in place, such as PCI configuration space.
pub trait Bytes: Send + Sync {
    /// Size of the file.
    fn size(&self) -> u64;

    /// Reads at `offset`, which is below the size; the number of bytes.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize>;

    /// Writes at `offset`; the number of bytes. Errors: `EIO` if it cannot be written.
    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<usize> {
        Err(Errno::EIO)
    }
}

/// What an attribute is made of.
#[derive(Clone)]
pub enum Content {
    /// Text.
    Text(Arc<dyn Attribute>),
    /// Bytes.
    Bytes(Arc<dyn Bytes>),
}

/// A text that never changes.
struct Fixed(Vec<u8>);

impl Attribute for Fixed {
    fn show(&self, out: &mut Text) -> Result<()> {
        out.bytes(&self.0)
    }
}

struct Show<F>(F);

impl<F: Fn(&mut Text) -> Result<()> + Send + Sync> Attribute for Show<F> {
    fn show(&self, out: &mut Text) -> Result<()> {
        (self.0)(out)
    }
}

struct Value<F>(F);

impl<F: Fn() -> V + Send + Sync, V: Display> Attribute for Value<F> {
    fn show(&self, out: &mut Text) -> Result<()> {
        put!(out, "{}\n", (self.0)())
    }
}

struct ShowStore<F, G>(F, G);

impl<F, G> Attribute for ShowStore<F, G>
where
    F: Fn(&mut Text) -> Result<()> + Send + Sync,
    G: Fn(&[u8]) -> Result<()> + Send + Sync,
{
    fn show(&self, out: &mut Text) -> Result<()> {
        (self.0)(out)
    }

    fn store(&self, data: &[u8]) -> Result<()> {
        (self.1)(data)
    }
}

struct Store<G>(G);

impl<G: Fn(&[u8]) -> Result<()> + Send + Sync> Attribute for Store<G> {
    fn show(&self, _out: &mut Text) -> Result<()> {
        Err(Errno::EIO)
    }

    fn store(&self, data: &[u8]) -> Result<()> {
        (self.0)(data)
    }
}

/// Attributes to be added to a directory. A name may have directories before it: `queue/rotational`.
#[derive(Clone, Default)]
pub struct Attrs {
    list: Vec<(String, u16, Content)>,
}

impl Attrs {
    /// None yet.
    pub const fn new() -> Self {
        Attrs { list: Vec::new() }
    }

    /// The attributes: path, permissions, content.
    pub fn into_list(self) -> Vec<(String, u16, Content)> {
        self.list
    }

    /// Any attribute.
    pub fn add(mut self, path: impl Into<String>, perm: u16, content: Content) -> Self {
        self.list.push((path.into(), perm, content));
        self
    }

    /// One line that never changes (0444).
    pub fn fixed(self, path: impl Into<String>, value: impl Display) -> Self {
        let mut line = Text::new();
        // A line that does not fit in memory now will not fit when it is read either: it is left out.
        match put!(line, "{value}\n") {
            Ok(()) => self.add(path, 0o444, Content::Text(Arc::new(Fixed(line.into_vec())))),
            Err(_) => self,
        }
    }

    /// A text that never changes, though its permissions (0644) say that it could: writing it is `EIO`.
    pub fn fixed_writable(self, path: impl Into<String>, value: impl Display) -> Self {
        let mut attrs = self.fixed(path, value);
        if let Some((_, perm, _)) = attrs.list.last_mut() {
            *perm = 0o644;
        }
        attrs
    }

    /// No text at all (0444).
    pub fn empty(self, path: impl Into<String>) -> Self {
        self.show(path, |_| Ok(()))
    }

    /// One line made from a value (0444).
    pub fn value<V: Display + 'static>(
        self,
        path: impl Into<String>,
        value: impl Fn() -> V + Send + Sync + 'static,
    ) -> Self {
        self.add(path, 0o444, Content::Text(Arc::new(Value(value))))
    }

    /// Text (0444).
    pub fn show(
        self,
        path: impl Into<String>,
        show: impl Fn(&mut Text) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.add(path, 0o444, Content::Text(Arc::new(Show(show))))
    }

    /// Text that can be written (0644).
    pub fn show_store(
        self,
        path: impl Into<String>,
        show: impl Fn(&mut Text) -> Result<()> + Send + Sync + 'static,
        store: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.add(path, 0o644, Content::Text(Arc::new(ShowStore(show, store))))
    }

    /// Something that can only be written (0200).
    pub fn store(
        self,
        path: impl Into<String>,
        store: impl Fn(&[u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.add(path, 0o200, Content::Text(Arc::new(Store(store))))
    }

    /// All attributes of another list too.
    pub fn with(mut self, other: Attrs) -> Self {
        self.list.extend(other.list);
        self
    }
}

/// Parses a written number as `kstrtoull(…, 0, …)` does. Errors: `EINVAL`, `ERANGE`.
pub fn number(data: &[u8]) -> Result<u64> {
    keel_procfs::text::unsigned(data)
}

/// Parses what `kstrtobool` takes: `1`, `y`, `on`, `0`, `n`, `off`. Errors: `EINVAL`.
pub fn boolean(data: &[u8]) -> Result<bool> {
    match data {
        [b'y' | b'Y' | b'1' | b't' | b'T', ..] | [b'o' | b'O', b'n' | b'N', ..] => Ok(true),
        [b'n' | b'N' | b'0' | b'f' | b'F', ..] | [b'o' | b'O', b'f' | b'F', ..] => Ok(false),
        _ => Err(Errno::EINVAL),
    }
}
