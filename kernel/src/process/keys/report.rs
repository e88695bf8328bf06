//! /proc/keys and /proc/key-users (keyrings(7)).

use core::sync::atomic::Ordering;
use keel_procfs::{Key as KeyLine, KeyUser};

use super::quota::User;
use super::{Caller, Key, KeyType, Need, seconds};
use crate::prelude::*;

/// The keys that the caller may see.
pub fn keys(caller: &Caller) -> Vec<KeyLine> {
    let visible = |key: &Arc<Key>| {
        caller.may(key, false, Need::VIEW)
            || (caller.may(key, true, Need::VIEW) && caller.possesses(key))
    };
    Key::all()
        .iter()
        .filter(|key| visible(key))
        .map(line)
        .collect()
}

fn line(key: &Arc<Key>) -> KeyLine {
    let state = key.state.lock();
    let mut description = key.description.clone();
    let detail = match key.kind {
        KeyType::Keyring if state.links.is_empty() => String::from(": empty"),
        KeyType::Keyring => format!(": {}", state.links.len()),
        _ => format!(": {}", state.payload.len()),
    };
    if !state.negative {
        description.extend_from_slice(detail.as_bytes());
    }
    KeyLine {
        serial: key.serial as u32,
        flags: [
            true,
            state.revoked,
            false,
            true,
            false,
            state.negative,
            state.invalid,
        ],
        // The list's own reference is no user of the key.
        usage: Arc::strong_count(key).saturating_sub(1) as u32,
        timeout: state.expires.map_or_else(|| "perm".into(), time_left),
        perm: state.perm,
        uid: state.user.uid as i32,
        gid: state.gid as i32,
        kind: key.kind.name().into(),
        description,
    }
}

/// The time until `expires` in the largest unit that fits.
fn time_left(expires: u64) -> String {
    let now = seconds();
    if now >= expires {
        return "expd".into();
    }
    let left = expires - now;
    let units = [
        (60, 's', 1),
        (3600, 'm', 60),
        (86_400, 'h', 3600),
        (604_800, 'd', 86_400),
    ];
    let (_, letter, size) = units
        .into_iter()
        .find(|(limit, ..)| left < *limit)
        .unwrap_or((0, 'w', 604_800));
    format!("{}{letter}", left / size)
}

/// Everybody who has keys, and how many.
pub fn users() -> Vec<KeyUser> {
    let one = |user: &Arc<User>| {
        let keys = user.keys.load(Ordering::Relaxed) as u32;
        let (max_keys, max_bytes) = user.limits();
        KeyUser {
            uid: user.uid,
            usage: keys,
            keys,
            instantiated: keys,
            quota_keys: keys,
            max_keys,
            quota_bytes: user.bytes.load(Ordering::Relaxed) as u32,
            max_bytes,
        }
    };
    User::all().iter().map(one).collect()
}
