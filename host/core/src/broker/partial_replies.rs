//! Partial replies that are kept until the final one. They are kept for requesters whose protocol has none (Majordomo
//! 0.1, calls of plugins), which get all frames in order as one reply, and for requests that repeat an idempotency key.
//!
//! Kept frames count against `limits.held-bytes`, and all frames of a reply against `limits.message` and
//! `limits.frames`.

use super::request::Requester;
use super::{Broker, RequestId};
use crate::failure::{Code, Failure};
use crate::message::{Body, Dialect, Reply, size};
use crate::time::Time;

/// Kept partial replies of one request.
#[derive(Debug, Default)]
pub(super) struct PartialReplies {
    frames: Body,
    /// Whether some were dropped, because they exceeded a limit.
    is_incomplete: bool,
}

impl PartialReplies {
    /// Returns the size of the kept frames in bytes.
    pub(super) fn bytes(&self) -> usize {
        size(&self.frames)
    }

    /// Adds the frames of one more partial reply.
    pub(super) fn extend(&mut self, body: &Body) {
        self.frames.extend(body.iter().cloned());
    }

    /// Drops all frames; if that makes the reply incomplete, later ones are not kept either.
    pub(super) fn clear(&mut self, is_incomplete: bool) {
        self.frames = Vec::new();
        self.is_incomplete = is_incomplete;
    }
}

impl Requester {
    /// Returns `true` if the requester's protocol has partial replies.
    fn has_parts(&self) -> bool {
        matches!(self, Self::Client { dialect, .. } if *dialect != Dialect::Majordomo01)
    }
}

impl Broker {
    /// Sends a partial reply to the requester, or keeps it if the requester's protocol has none. The request fails if
    /// its reply exceeds a limit.
    pub(super) fn pass_on(&mut self, id: RequestId, body: Body, now: Time) {
        if let Err(failure) = self.may_carry(&body) {
            return self.end(id, failure, now);
        }
        let Some(pending) = self.requests.get(&id) else { return };
        let has_parts = pending.context.requester.has_parts();
        if (!has_parts || pending.context.idempotency_key.is_some())
            && let Err(failure) = self.keep_part(id, &body)
        {
            if !has_parts {
                return self.end(id, failure, now);
            }
            self.requests.drop_parts(id, true);
        }
        if has_parts && let Some(pending) = self.requests.get(&id) {
            let (requester, service) = (pending.context.requester.clone(), pending.context.service.clone());
            self.reply(requester, service, Reply::Partial(body));
        }
    }

    fn keep_part(&mut self, id: RequestId, body: &Body) -> Result<(), Failure> {
        let Some(pending) = self.requests.get(&id).filter(|pending| !pending.parts.is_incomplete) else {
            return Ok(());
        };
        self.may_carry_both(&pending.parts.frames, body)?;
        if !self.requests.has_room(size(body)) {
            let limit = self.settings.limits.held_bytes;
            let reason = format!("limits.held-bytes = {limit} is reached by partial replies");
            return Err(Failure::new(Code::TooLarge, reason));
        }
        self.requests.keep_part(id, body);
        Ok(())
    }

    /// Returns the requester's reply, and that of other requests with the same key, if it differs. Kept partial replies
    /// precede the final one. Of a reply too large to be kept, other requests get only the final part, because a
    /// request with a key must not run again.
    pub(super) fn with_parts(
        &self,
        requester: &Requester,
        parts: PartialReplies,
        result: Result<Body, Failure>,
    ) -> (Result<Body, Failure>, Option<Result<Body, Failure>>) {
        if parts.frames.is_empty() {
            return (result, None);
        }
        let whole = result.clone().and_then(|body| {
            self.may_carry_both(&parts.frames, &body)?;
            Ok([parts.frames, body].concat())
        });
        match (requester.has_parts(), whole) {
            (true, Ok(whole)) => (result, Some(Ok(whole))),
            (true, Err(_)) => (result, None),
            (false, whole) => (whole, None),
        }
    }

    fn may_carry_both(&self, kept: &Body, body: &Body) -> Result<(), Failure> {
        self.may_carry_sum(size(kept).saturating_add(size(body)), kept.len() + body.len())
    }
}
