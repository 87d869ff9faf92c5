//! Inputs and outputs as readable lines: messages between nodes are decoded.

use wasmnode_core::message::{self, Message, Reply, native, path, peer};
use wasmnode_core::{Frame, Input, Output};

pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Message { from, frames } => format!("<- {} {}", text(from.as_bytes()), describe(frames)),
        Input::Undeliverable { to, frames } => {
            format!("undeliverable to {}: {}", text(to.as_bytes()), describe(frames))
        }
        Input::LinkMessage { link, frames } => format!("<- {link} {}", describe(frames)),
        Input::Unsent { link, frames } => format!("unsent on {link}: {}", describe(frames)),
        Input::Partial { request, body } => format!("run {} says {}", request.0, body_text(body)),
        Input::Finished { request, result: Ok(body) } => format!("run {} ends: {}", request.0, body_text(body)),
        Input::Finished { request, result: Err(failure) } => format!("run {} fails: {failure}", request.0),
        other => format!("{other:?}"),
    }
}

pub(crate) fn output(output: &Output) -> String {
    match output {
        Output::Send { to, frames } => format!("  -> {} {}", text(to.as_bytes()), describe(frames)),
        Output::Post { link, frames } => format!("  -> {link} {}", describe(frames)),
        Output::Run(request) => format!("  run {} {}: {}", request.id.0, request.service, body_text(&request.body)),
        Output::Zone(event) => format!("  tells: {event}"),
        Output::Event(event) => format!("  tells: {event}"),
        other => format!("  {other:?}"),
    }
}

fn describe(frames: &[Frame]) -> String {
    if let Ok((id, reply)) = native::decode_reply(frames.to_vec()) {
        return format!("answer {id}: {}", reply_text(&reply));
    }
    match message::decode(frames.to_vec()) {
        Ok(Message::Request { request, .. }) => {
            format!("ask {} {}: {}", request.id, text(&request.service), body_text(&request.body))
        }
        Ok(Message::Peer(peer::PeerMessage::Gossip(data))) => format!("Gossip of {} bytes", data.len()),
        Ok(Message::Peer(peer::PeerMessage::Request(forward))) => {
            format!("Request {} {} {:?}: {}", forward.id, forward.service, forward.remaining, body_text(&forward.body))
        }
        Ok(Message::Peer(peer::PeerMessage::Reply { id, reply })) => format!("Reply {id}: {}", reply_text(&reply)),
        Ok(Message::Peer(peer::PeerMessage::Paths { epoch, update })) => {
            format!("Paths of {epoch}: {:?}", path::decode(update))
        }
        Ok(Message::Peer(other)) => format!("{other:?}"),
        other => format!("{other:?}"),
    }
}

fn reply_text(reply: &Reply) -> String {
    match reply {
        Reply::Partial(body) => format!("{} …", body_text(body)),
        Reply::Final(body) => body_text(body),
        Reply::Failure(failure) => failure.to_string(),
    }
}

fn body_text(body: &[Frame]) -> String {
    body.iter().map(|frame| text(frame)).collect::<Vec<_>>().join(" ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
