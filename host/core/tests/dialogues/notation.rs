//! Frames from text and to text. `notation.txt` explains the notation by example.

use crate::script::words;
use std::collections::BTreeMap;
use std::fmt;
use wasmnode_core::message::{Dialect, Reply, Request, native};
use wasmnode_core::{Code, Frame};

/// Dialects of the words READY, ASK and so on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialects {
    pub(crate) worker: Dialect,
    pub(crate) client: Dialect,
}

impl fmt::Display for Dialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workers {:?}, clients {:?}", self.worker, self.client)
    }
}

/// Pattern of one frame.
pub(crate) enum Pattern {
    /// These bytes.
    Exactly(Frame),
    /// The value of this variable; a variable without a value is set to the frame.
    Variable(String),
    /// A text that contains this.
    Containing(String),
    /// A native failure with this id and code, whose reason contains this.
    Failure { id: u64, code: u16, reason: String },
}

/// Values of variables, by name.
pub(crate) type Variables = BTreeMap<String, Frame>;

impl Pattern {
    pub(crate) fn matches(&self, frame: &Frame, variables: &mut Variables) -> bool {
        match self {
            Self::Exactly(bytes) => bytes == frame,
            Self::Variable(name) => variables.entry(name.clone()).or_insert_with(|| frame.clone()) == frame,
            Self::Containing(part) => String::from_utf8_lossy(frame).contains(part),
            Self::Failure { id, code, reason } => match native::decode_reply(vec![frame.clone()]) {
                Ok((answered, Reply::Failure(failure))) => {
                    answered == *id && failure.code.number() == *code && failure.reason.contains(reason)
                }
                _ => false,
            },
        }
    }

    /// Returns the frame that the pattern stands for in a message to send.
    pub(crate) fn frame(&self, variables: &Variables) -> Result<Frame, String> {
        match self {
            Self::Exactly(bytes) => Ok(bytes.clone()),
            Self::Variable(name) => variables.get(name).cloned().ok_or(format!("${name} holds nothing yet")),
            Self::Containing(_) | Self::Failure { .. } => Err("only bytes can be sent, no patterns".into()),
        }
    }
}

/// Parses the patterns of frames.
pub(crate) fn patterns(words: &[String], dialects: Dialects) -> Result<Vec<Pattern>, String> {
    let mut patterns = Vec::new();
    for word in words {
        if let Some(frames) = command(word, dialects) {
            patterns.extend(frames?.into_iter().map(|frame| Pattern::Exactly(Frame::copy_from_slice(frame))));
        } else {
            patterns.push(pattern(word)?);
        }
    }
    Ok(patterns)
}

/// Returns the frames up to the command that a word in capitals stands for.
fn command(word: &str, dialects: Dialects) -> Option<Result<Vec<&'static [u8]>, String>> {
    let worker: Option<(&[u8], &[u8])> = match word {
        "READY" => Some((&[1], &[1])),
        "REQUEST" => Some((&[2], &[2])),
        "PARTIAL" => Some((&[], &[3])),
        "FINAL" => Some((&[3], &[4])),
        "HEARTBEAT" => Some((&[4], &[5])),
        "DISCONNECT" => Some((&[5], &[6])),
        _ => None,
    };
    let client: Option<&[u8]> = match word {
        "ASK" => Some(&[1]),
        "PART" => Some(&[2]),
        "REPLY" => Some(&[3]),
        _ => None,
    };
    Some(Ok(match (worker, client, dialects) {
        (Some(([], _)), _, Dialects { worker: Dialect::Majordomo01, .. }) => {
            return Some(Err(format!("Majordomo 0.1 has no {word}")));
        }
        (Some((number, _)), _, Dialects { worker: Dialect::Majordomo01, .. }) => vec![b"", b"MDPW01", number],
        (Some((_, number)), _, Dialects { worker: Dialect::Majordomo02, .. }) => vec![b"MDPW02", number],
        (Some((_, number)), _, _) => vec![b"", b"MDPW02", number],
        (_, Some(_), Dialects { client: Dialect::Majordomo01, .. }) => vec![b"", b"MDPC01"],
        (_, Some(number), Dialects { client: Dialect::Majordomo02, .. }) => vec![b"MDPC02", number],
        (_, Some(number), _) => vec![b"", b"MDPC02", number],
        _ => return None,
    }))
}

fn pattern(word: &str) -> Result<Pattern, String> {
    if let Some(name) = word.strip_prefix('$') {
        return Ok(Pattern::Variable(name.into()));
    }
    if let Some(part) = word.strip_prefix('~') {
        return Ok(Pattern::Containing(String::from_utf8_lossy(&text(part)?).into_owned()));
    }
    if let Some((name, inner)) = word.strip_suffix(')').and_then(|word| word.split_once('('))
        && !name.contains('"')
    {
        return native_header(name, &words(inner));
    }
    let mut bytes = Vec::new();
    // A `+` within quotes would be cut in two: write it as \x2b.
    for part in word.split('+') {
        bytes.extend(if part.starts_with('"') { text(part)? } else { hex(part)? });
    }
    Ok(Pattern::Exactly(bytes.into()))
}

/// Parses `ask(7 print wait trace deadline=250 key=k trace=t)`, `cancel(7)`, `partial(7)`, `final(7)`, `failure(7 404
/// "reason")`.
fn native_header(name: &str, words: &[String]) -> Result<Pattern, String> {
    let number = |index: usize| {
        let word = words.get(index).ok_or(format!("{name}(...) is too short"))?;
        word.parse::<u64>().map_err(|_| format!("{word} is no number"))
    };
    let id = number(0)?;
    let frames = match name {
        "ask" => native::encode_request(Dialect::Native, &ask(id, &words[1..])?).unwrap(),
        "cancel" => native::encode_cancel(id),
        "partial" => native::encode_reply(Dialect::Native, id, Reply::Partial(Vec::new())),
        "final" => native::encode_reply(Dialect::Native, id, Reply::Final(Vec::new())),
        "failure" => {
            let code = u16::try_from(number(1)?).map_err(|_| "is no code")?;
            Code::from_number(code).ok_or(format!("{code} is no code"))?;
            let reason = words.get(2).map_or(Ok(Vec::new()), |word| text(word))?;
            return Ok(Pattern::Failure { id, code, reason: String::from_utf8_lossy(&reason).into_owned() });
        }
        _ => return Err(format!("{name} is no command of the native dialect")),
    };
    Ok(Pattern::Exactly(frames[0].clone()))
}

fn ask(id: u64, words: &[String]) -> Result<Request, String> {
    let service = words.first().ok_or("ask(...) lacks the service")?.clone();
    let mut request = Request {
        id,
        service: service.into(),
        deadline_ms: None,
        wait: false,
        trace: false,
        traceparent: None,
        idempotency_key: None,
        body: Vec::new(),
    };
    for word in &words[1..] {
        match word.split_once('=') {
            None if word == "wait" => request.wait = true,
            None if word == "trace" => request.trace = true,
            Some(("deadline", ms)) => {
                request.deadline_ms = Some(ms.parse().map_err(|_| "deadline=... is milliseconds")?);
            }
            Some(("key", key)) => request.idempotency_key = Some(key.to_owned().into()),
            Some(("trace", parent)) => request.traceparent = Some(parent.to_owned().into()),
            _ => return Err(format!("ask(...) knows no {word}")),
        }
    }
    Ok(request)
}

/// Parses text in quotes, with `\\`, `\"` and `\xNN`.
pub(crate) fn text(word: &str) -> Result<Vec<u8>, String> {
    let inner = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).ok_or(format!("{word} lacks quotes"))?;
    let mut bytes = Vec::new();
    let mut rest = inner;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend(plain.as_bytes());
        rest = match escape.split_at_checked(1) {
            Some(("\\" | "\"", after)) => {
                bytes.push(escape.as_bytes()[0]);
                after
            }
            Some(("x", after)) if after.is_char_boundary(2) && after.len() >= 2 => {
                bytes.extend(hex(&after[..2])?);
                &after[2..]
            }
            _ => return Err(format!("{word} has an unknown escape")),
        };
    }
    bytes.extend(rest.as_bytes());
    Ok(bytes)
}

fn hex(word: &str) -> Result<Vec<u8>, String> {
    if word.is_empty() || !word.len().is_multiple_of(2) || !word.is_ascii() {
        return Err(format!(
            "{word} is no frame: text in quotes, pairs of hex digits, $variable, or a word of notation.txt"
        ));
    }
    let digits = |at: usize| u8::from_str_radix(&word[at..at + 2], 16).map_err(|_| format!("{word} is no frame"));
    (0..word.len()).step_by(2).map(digits).collect()
}

/// Returns frames in the notation of dialogues.
pub(crate) fn show(frames: &[Frame], variables: &Variables) -> String {
    let shown: Vec<String> = frames.iter().map(|frame| show_frame(frame, variables)).collect();
    shown.join(" ")
}

fn show_frame(frame: &Frame, variables: &Variables) -> String {
    if let Some((name, _)) = variables.iter().find(|(_, held)| *held == frame) {
        return format!("${name}");
    }
    match native::decode_reply(vec![frame.clone()]) {
        Ok((id, Reply::Partial(_))) => return format!("partial({id})"),
        Ok((id, Reply::Final(_))) => return format!("final({id})"),
        Ok((id, Reply::Failure(failure))) => {
            return format!("failure({id} {} {:?})", failure.code.number(), failure.reason);
        }
        Err(_) => {}
    }
    match std::str::from_utf8(frame) {
        Ok(text) if !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => frame.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
