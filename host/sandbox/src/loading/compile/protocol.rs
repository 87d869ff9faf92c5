//! Messages between the node and a compiler process, over the process's standard input and output.
//!
//! The process writes [`greeting`], reads one [`CompileJob`] and the bytes of the file, writes one [`Answer`] and the
//! compiled bytes, and ends. Job and answer are JSON after their length (four bytes, little-endian); the bytes that
//! follow have the length that the job or the answer states. Both programs come from one build, which the greeting
//! proves.

use serde::{Deserialize, Serialize};
use std::io::{self, Error, ErrorKind, Read, Write};

/// First bytes of the greeting; the digest of the engine's settings follows.
const MAGIC: &[u8; 32] = b"wasmnode compiler process, 1   \n";

/// Largest job or answer in bytes, without the bytes that follow. The longest is a description of interfaces, which
/// grows with the names and types in a file; those of all known components are several times shorter than 16 MiB.
pub(super) const MAX_HEADER: usize = 16 << 20;

/// Bytes of a greeting.
pub(super) const GREETING: usize = 64;

/// Job of one process, for one file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CompileJob {
    /// Bytes of the file, which follow.
    pub(super) bytes: u64,
    /// Processor time in seconds.
    pub(super) seconds: u64,
    /// Memory in bytes.
    pub(super) memory: u64,
    /// Number of threads that compile.
    pub(super) threads: usize,
    /// Whether all threads have the lowest priority; otherwise the first keeps the node's priority.
    pub(super) is_low_priority: bool,
    pub(super) wanted: Wanted,
}

/// Result that a job requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wanted {
    /// The compiled component.
    Code,
    /// The WIT text of its exports.
    Description,
}

/// Outcome of a job.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The file was compiled; the machine code follows.
    Code {
        /// Bytes that follow.
        bytes: u64,
    },
    /// Exported interfaces, by name, with their content as WIT.
    Description(Vec<(String, String)>),
    /// The file is not a component, for this reason.
    Refused(String),
}

/// Returns the greeting of a process whose engine has settings of this digest.
pub(super) fn greeting(settings: &[u8; 32]) -> [u8; GREETING] {
    let mut greeting = [0; GREETING];
    greeting[..32].copy_from_slice(MAGIC);
    greeting[32..].copy_from_slice(settings);
    greeting
}

/// Encodes a job or an answer, after its length.
///
/// # Errors
/// If the message is longer than [`MAX_HEADER`].
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= MAX_HEADER).ok_or_else(too_long)?;
    let mut bytes = Vec::with_capacity(4 + text.len());
    bytes.extend(length.to_le_bytes());
    bytes.extend(text);
    Ok(bytes)
}

/// Decodes a job or an answer at the start of the received bytes. Returns it with its length; `None` if it is
/// incomplete.
///
/// # Errors
/// If the message is longer than [`MAX_HEADER`], or does not have the expected form.
pub(super) fn decode<T: for<'a> Deserialize<'a>>(arrived: &[u8]) -> io::Result<Option<(T, usize)>> {
    let Some((length, rest)) = arrived.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_HEADER {
        return Err(too_long());
    }
    match rest.get(..length) {
        Some(text) => Ok(Some((serde_json::from_slice(text)?, 4 + length))),
        None => Ok(None),
    }
}

/// Reads a job or an answer.
///
/// # Errors
/// As for [`decode`], and if the stream ends or fails.
pub(super) fn read<T: for<'a> Deserialize<'a>>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut message = length.to_vec();
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(too_long());
    }
    message.resize(4 + length, 0);
    from.read_exact(&mut message[4..])?;
    decode(&message)?.map(|(message, _)| message).ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// Writes a job or an answer, and the bytes that follow it.
///
/// # Errors
/// If the stream fails, or the message is longer than [`MAX_HEADER`].
pub(super) fn write(to: &mut impl Write, message: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&encode(message)?)?;
    to.write_all(bytes)?;
    to.flush()
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidData, format!("a message is over {MAX_HEADER} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> CompileJob {
        CompileJob { bytes: 5, seconds: 60, memory: 1 << 32, threads: 2, is_low_priority: true, wanted: Wanted::Code }
    }

    #[test]
    fn a_message_is_decoded_from_pieces_of_any_size() {
        let bytes = encode(&job()).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(decode::<CompileJob>(&bytes[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(decode(&bytes).unwrap(), Some((job(), bytes.len())));
        assert_eq!(read::<CompileJob>(&mut &bytes[..]).unwrap(), job());
        assert_eq!(read::<CompileJob>(&mut &bytes[..9]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_memory_is_reserved() {
        assert_eq!(decode::<CompileJob>(&[255; 4]).unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(read::<CompileJob>(&mut &[255; 4][..]).unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(encode(&Answer::Refused("x".repeat(MAX_HEADER))).is_err());
    }

    #[test]
    fn a_message_of_another_form_is_an_error() {
        let answer = encode(&Answer::Refused("no".into())).unwrap();
        assert!(decode::<CompileJob>(&answer).is_err());
    }
}
