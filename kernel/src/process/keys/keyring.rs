//! Keyrings: links, and searching through them.

use super::context::{Caller, Need};
use super::{Key, KeyType, LINK_BYTES};
use crate::prelude::*;

/// How deep searches follow keyrings in keyrings.
const MAX_DEPTH: usize = 6;

impl Key {
    /// The keys that a keyring links to. What has been invalidated is taken out.
    pub fn links(&self) -> Vec<Arc<Key>> {
        let all = self.state.lock().links.clone();
        if all.iter().any(|key| key.is_invalid()) {
            for key in all.iter().filter(|key| key.is_invalid()) {
                let _ = self.unlink(key);
            }
            return all.into_iter().filter(|key| !key.is_invalid()).collect();
        }
        all
    }

    /// The key of that type and name that a keyring links to.
    pub fn linked(&self, kind: KeyType, description: &[u8]) -> Option<Arc<Key>> {
        let state = self.state.lock();
        state
            .links
            .iter()
            .find(|key| key.kind == kind && key.description == description)
            .cloned()
    }

    /// Links `key` into the keyring, in the place of one of the same type and name: ENOTDIR, EKEYREVOKED, EPERM, EDQUOT,
    /// EDEADLK for a keyring that would contain itself, ELOOP for one too deep to tell.
    pub fn link(&self, key: &Arc<Key>) -> Result<()> {
        if !self.is_keyring() {
            return Err(Errno::ENOTDIR);
        }
        self.validate()?;
        if key.is_keyring() {
            check_cycle(key, self, 0)?;
        }
        let _replaced = {
            let mut state = self.state.lock();
            if state.restricted {
                return Err(Errno::EPERM);
            }
            let same = |old: &Arc<Key>| {
                Arc::ptr_eq(old, key)
                    || (old.kind == key.kind && old.description == key.description)
            };
            match state.links.iter().position(same) {
                Some(at) => Some(core::mem::replace(&mut state.links[at], key.clone())),
                None => {
                    state.links.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                    let bytes = state.charged + LINK_BYTES;
                    state.recharge(bytes)?;
                    state.links.push(key.clone());
                    None
                }
            }
        };
        Ok(())
    }

    /// Takes a link out: ENOTDIR, ENOENT.
    pub fn unlink(&self, key: &Arc<Key>) -> Result<()> {
        if !self.is_keyring() {
            return Err(Errno::ENOTDIR);
        }
        let _gone = {
            let mut state = self.state.lock();
            let at = state
                .links
                .iter()
                .position(|link| Arc::ptr_eq(link, key))
                .ok_or(Errno::ENOENT)?;
            let bytes = state.charged - LINK_BYTES;
            state.recharge(bytes)?;
            state.links.remove(at)
        };
        Ok(())
    }

    /// Takes all links out: ENOTDIR.
    pub fn clear(&self) -> Result<()> {
        if !self.is_keyring() {
            return Err(Errno::ENOTDIR);
        }
        let _gone = {
            let mut state = self.state.lock();
            let bytes = state.charged - state.links.len() * LINK_BYTES;
            state.recharge(bytes)?;
            core::mem::take(&mut state.links)
        };
        Ok(())
    }

    /// No more links from now on: ENOTDIR, EEXIST.
    pub fn restrict(&self) -> Result<()> {
        if !self.is_keyring() {
            return Err(Errno::ENOTDIR);
        }
        let mut state = self.state.lock();
        if core::mem::replace(&mut state.restricted, true) {
            return Err(Errno::EEXIST);
        }
        Ok(())
    }

    /// Whether `key` can be reached from this keyring by what `caller` may search.
    pub fn reaches(&self, key: &Key, caller: &Caller) -> bool {
        self.reaches_within(key, caller, 0)
    }

    fn reaches_within(&self, key: &Key, caller: &Caller, depth: usize) -> bool {
        // Only what may be found counts.
        if core::ptr::eq(self, key) {
            return caller.may(key, true, Need::SEARCH);
        }
        depth < MAX_DEPTH
            && self.is_keyring()
            && self.links().iter().any(|link| {
                let found = core::ptr::eq(&**link, key) || link.is_keyring();
                found
                    && caller.may(link, true, Need::SEARCH)
                    && link.reaches_within(key, caller, depth + 1)
            })
    }

    /// Searches the keyring and those in it for a key: EAGAIN if there is none, else what is wrong with the one that was
    /// found. `possessed`: the caller possesses the keyring.
    pub fn search(
        self: &Arc<Self>,
        kind: KeyType,
        description: &[u8],
        caller: &Caller,
        possessed: bool,
    ) -> Result<Arc<Key>> {
        let wanted = |key: &Key| key.kind == kind && key.description == description;
        if wanted(self) {
            return usable(self, caller, possessed);
        }
        self.search_within(&wanted, caller, possessed, 0)
    }

    fn search_within(
        &self,
        wanted: &dyn Fn(&Key) -> bool,
        caller: &Caller,
        possessed: bool,
        depth: usize,
    ) -> Result<Arc<Key>> {
        let links = self.links();
        let mut failure = Errno::EAGAIN;
        for key in links.iter().filter(|key| wanted(key)) {
            match usable(key, caller, possessed) {
                Ok(key) => return Ok(key),
                Err(error) => failure = error,
            }
        }
        if depth < MAX_DEPTH {
            let inner = links
                .iter()
                .filter(|key| key.is_keyring() && caller.may(key, possessed, Need::SEARCH));
            for keyring in inner {
                match keyring.search_within(wanted, caller, possessed, depth + 1) {
                    Ok(key) => return Ok(key),
                    Err(Errno::EAGAIN) => {}
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }
}

/// Whether a key that was found can be used by the caller.
fn usable(key: &Arc<Key>, caller: &Caller, possessed: bool) -> Result<Arc<Key>> {
    key.validate()?;
    if !caller.may(key, possessed, Need::SEARCH) {
        return Err(Errno::EACCES);
    }
    key.check_positive()?;
    Ok(key.clone())
}

/// EDEADLK if `keyring` is in `inner` or what is below it, ELOOP if that is too deep to tell.
fn check_cycle(inner: &Key, keyring: &Key, depth: usize) -> Result<()> {
    if core::ptr::eq(inner, keyring) {
        return Err(Errno::EDEADLK);
    }
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    inner
        .links()
        .iter()
        .filter(|key| key.is_keyring())
        .try_for_each(|key| check_cycle(key, keyring, depth + 1))
}
