//! Encoding and decoding of updates, as documented in [the parent module](super).

use super::{
    Changes, DeadLink, Group, Hop, Keepalive, MAX_HOPS, OfferedService, RouteKey, RouterId, Tombstone, Update,
    UpdateContent,
};
use crate::message::Frame;
use crate::message::codec::{Reader, put_name};
use crate::message::peer::Traits;
use crate::name::{Label, ServiceName};
use bytes::BufMut;

const NEWS: u8 = 1;
const BEGIN: u8 = 2;
const COMPLETE: u8 = 3;
const STILL: u8 = 4;
const ASK: u8 = 5;

const OVER: &str = "counts more entries than it has";

/// Encodes an update. A path of more than 255 hops is cut to 255, which receivers reject.
#[must_use]
pub fn encode(update: &Update) -> Frame {
    let mut out = Vec::with_capacity(64);
    out.put_u64(update.number);
    match &update.content {
        UpdateContent::Changes(changes) => put_changes(&mut out, changes),
        UpdateContent::BeginRefresh => out.put_u8(BEGIN),
        UpdateContent::EndRefresh => out.put_u8(COMPLETE),
        UpdateContent::Digest { routes, digest } => {
            out.put_u8(STILL);
            out.put_u32(*routes);
            out.put_u64(*digest);
        }
        UpdateContent::RequestRefresh => out.put_u8(ASK),
    }
    out.into()
}

fn put_changes(out: &mut Vec<u8>, changes: &Changes) {
    out.put_u8(NEWS);
    put_list(out, &changes.causes, |out, cause| {
        put_router(out, &cause.a);
        put_router(out, &cause.b);
        out.put_u64(cause.epoch);
    });
    put_list(out, &changes.tombstones, |out, tombstone| {
        put_router(out, &tombstone.origin);
        out.put_u64(tombstone.boot);
        out.put_u64(tombstone.version);
        put_name(out, tombstone.service.as_ref());
    });
    put_list(out, &changes.withdrawn, |out, key| {
        put_name(out, Some(&key.zone));
        put_name(out, Some(&key.service));
    });
    put_list(out, &changes.groups, put_group);
    put_list(out, &changes.fresh, |out, fresh| {
        put_router(out, &fresh.origin);
        out.put_u64(fresh.boot);
        out.put_u64(fresh.version);
    });
}

fn put_group(out: &mut Vec<u8>, group: &Group) {
    let hops = u8::try_from(group.path.len()).unwrap_or(u8::MAX);
    out.put_u8(hops);
    for hop in group.path.iter().take(hops.into()) {
        put_router(out, &hop.at);
        out.put_u64(hop.epoch);
    }
    out.put_u64(group.boot);
    out.put_u32(group.cost);
    put_list(out, &group.services, |out, offered| {
        put_name(out, Some(&offered.service));
        out.put_u64(offered.version);
        out.put_u8(offered.traits.to_flags());
    });
}

fn put_router(out: &mut Vec<u8>, router: &RouterId) {
    put_name(out, Some(&router.zone));
    put_name(out, Some(&router.router));
}

/// Writes the number of entries (4) and the entries. No process holds so many that the number could be wrong.
fn put_list<T>(out: &mut Vec<u8>, entries: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    entries.iter().for_each(|entry| put(out, entry));
}

/// Decodes an update.
///
/// # Examples
/// ```
/// use wasmnode_protocol::message::path::{Update, UpdateContent, decode, encode};
///
/// let update = Update { number: 1, content: UpdateContent::RequestRefresh };
/// assert_eq!(decode(encode(&update)), Ok(update));
/// ```
///
/// # Errors
/// The rule that the bytes break. The text continues a sentence that begins with "the update".
pub fn decode(mut frame: Frame) -> Result<Update, &'static str> {
    let from = &mut frame;
    let number = from.u64()?;
    let content = match from.u8()? {
        NEWS => UpdateContent::Changes(changes(from)?),
        BEGIN => UpdateContent::BeginRefresh,
        COMPLETE => UpdateContent::EndRefresh,
        STILL => UpdateContent::Digest { routes: from.u32()?, digest: from.u64()? },
        ASK => UpdateContent::RequestRefresh,
        _ => return Err("is of an unknown kind"),
    };
    if from.is_empty() { Ok(Update { number, content }) } else { Err("has bytes after its end") }
}

fn changes(from: &mut Frame) -> Result<Changes, &'static str> {
    // The numbers are the least sizes of entries; the shortest router has four bytes.
    Ok(Changes {
        causes: from.list(16, OVER, |from| Ok(DeadLink::new(router(from)?, router(from)?, from.u64()?)))?,
        tombstones: from.list(21, OVER, tombstone)?,
        withdrawn: from.list(4, OVER, |from| Ok(RouteKey { zone: label(from)?, service: service(from)? }))?,
        groups: from.list(17, OVER, group)?,
        fresh: from
            .list(20, OVER, |from| Ok(Keepalive { origin: router(from)?, boot: from.u64()?, version: from.u64()? }))?,
    })
}

fn tombstone(from: &mut Frame) -> Result<Tombstone, &'static str> {
    let (origin, boot, version) = (router(from)?, from.u64()?, from.u64()?);
    let service = match from.first() {
        Some(0) => from.u8().map(|_| None)?,
        _ => Some(service(from)?),
    };
    Ok(Tombstone { origin, boot, version, service })
}

fn group(from: &mut Frame) -> Result<Group, &'static str> {
    let hops = usize::from(from.u8()?);
    if hops > MAX_HOPS {
        return Err("has a path of more than 32 hops");
    }
    let path: Result<_, &'static str> = (0..hops).map(|_| Ok(Hop { at: router(from)?, epoch: from.u64()? })).collect();
    let (path, boot, cost) = (path?, from.u64()?, from.u32()?);
    let services = from.list(11, OVER, |from| {
        Ok(OfferedService { service: service(from)?, version: from.u64()?, traits: Traits::from_flags(from.u8()?) })
    })?;
    Ok(Group { path, boot, cost, services })
}

fn router(from: &mut Frame) -> Result<RouterId, &'static str> {
    Ok(RouterId { zone: label(from)?, router: label(from)? })
}

fn label(from: &mut Frame) -> Result<Label, &'static str> {
    let length = from.u8()?;
    let parsed = from.view(length.into(), |bytes| std::str::from_utf8(bytes).ok()?.parse().ok())?;
    parsed.ok_or("has an invalid name of a router or a zone")
}

fn service(from: &mut Frame) -> Result<ServiceName, &'static str> {
    let length = from.u8()?;
    from.view(length.into(), ServiceName::from_bytes)?.map_err(|_| "has an invalid name of a service")
}

#[cfg(test)]
mod tests;
