//! Parsers of single values. An error states the problem and what to write instead; it never quotes raw control
//! characters or endless text, because it ends up in a terminal.

use super::endpoint::Endpoint;
use bytesize::ByteSize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::{DeInteger, DeValue};
use wasmnode_core::{Label, Pattern, ServiceName};

type Parsed<T> = Result<T, String>;

const SHORTEST: Duration = Duration::from_millis(1);
/// Keeps every sum of a time and a duration far from overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Describes a value, for "got ...".
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => format!("the number {}", shortened(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", shortened(number.as_str())),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(datetime) => format!("the date {datetime}"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// Parses the name of a node or zone.
pub(crate) fn label(value: &DeValue<'_>) -> Parsed<Label> {
    let name = text(value, "a name such as \"node1\"")?;
    name.parse().map_err(|error| format!("{} {error}", quoted(name)))
}

/// Parses the name of a service that a plugin or a worker may offer.
pub(super) fn service_name(name: &str) -> Parsed<ServiceName> {
    let service: ServiceName = name.parse().map_err(|error| format!("{}: {error}", quoted(name)))?;
    if service.is_reserved() {
        return Err(format!("{} is a name that the node answers itself; choose another", quoted(name)));
    }
    Ok(service)
}

/// Parses a value that is the name of a service.
pub(super) fn service(value: &DeValue<'_>) -> Parsed<ServiceName> {
    service_name(text(value, "the name of a service such as \"print\"")?)
}

/// Parses a pattern of service names.
pub(crate) fn pattern(value: &DeValue<'_>) -> Parsed<Pattern> {
    let pattern = text(value, "the name of a service, or a beginning such as \"storage.*\"")?;
    pattern.parse().map_err(|error| format!("{}: {error}; write \"print\" or \"storage.*\"", quoted(pattern)))
}

/// Parses a path, without resolving it.
pub(super) fn path(value: &DeValue<'_>) -> Parsed<PathBuf> {
    match text(value, "a path such as \"../plugins\"")? {
        "" => Err("is empty; write a path such as \"../plugins\"".into()),
        path if path.contains('\0') => Err(format!("{} contains a zero byte, which no path may", quoted(path))),
        path if path == "~" || path.starts_with("~/") => {
            Err(format!("{}: '~' is not expanded; write the whole path", quoted(path)))
        }
        path => Ok(path.into()),
    }
}

/// Parses an endpoint, without resolving it.
pub(super) fn endpoint(value: &DeValue<'_>) -> Parsed<Endpoint> {
    let endpoint = text(value, "an endpoint such as \"tcp://127.0.0.1:5555\"")?;
    endpoint.parse().map_err(|error| format!("{error}"))
}

/// Parses a boolean.
pub(crate) fn boolean(value: &DeValue<'_>) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| format!("expected true or false, got {}", describe(value)))
}

/// Parses one of several words.
pub(crate) fn choice<T: Copy>(choices: &[(&str, T)]) -> impl FnOnce(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let words = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let chosen = text(value, &words)?;
        let found = choices.iter().find(|(word, _)| *word == chosen);
        found.map(|(_, choice)| *choice).ok_or_else(|| format!("expected {words}, got {}", quoted(chosen)))
    }
}

/// Parses a duration.
pub(super) fn duration(value: &DeValue<'_>) -> Parsed<Duration> {
    parse_duration(text(value, "a duration such as \"2s\" or \"250ms\"")?)
}

/// Parses a duration in the notation of the configuration, `2s` or `250ms`, from 1 ms to 30 days.
///
/// # Errors
/// What is wrong, and what to write.
pub fn parse_duration(written: &str) -> Result<Duration, String> {
    // humantime panics if seconds of 20 digits overflow with the smaller units; 12 digits cannot overflow.
    let digits = written.chars().filter(char::is_ascii_digit).count();
    let duration = if digits <= 12 { humantime::parse_duration(written).ok() } else { None };
    match duration {
        Some(duration) if (SHORTEST..=LONGEST).contains(&duration) => Ok(duration),
        Some(_) => Err(format!("{} is out of range; write a duration from \"1ms\" to \"30d\"", quoted(written))),
        None => Err(format!("{} is not a duration; write \"2s\" or \"250ms\"", quoted(written))),
    }
}

/// Parses a number of bytes: text with a unit, or a plain number.
pub(crate) fn size(range: RangeInclusive<u64>) -> impl FnOnce(&DeValue<'_>) -> Parsed<usize> {
    move |value| {
        let bytes = match value {
            DeValue::Integer(number) => integer(number).and_then(|bytes| u64::try_from(bytes).ok()),
            value => Some(bytes_of(text(value, "a size such as \"64MiB\" or a number of bytes")?)?),
        };
        let bytes = bytes.filter(|bytes| range.contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.ok_or_else(|| out_of_range(&describe(value), &range))
    }
}

/// Parses a size within a range in the notation of the configuration, `64MiB` or a number of bytes.
///
/// # Errors
/// What is wrong, and what to write.
pub fn parse_size(written: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let bytes = bytes_of(written)?;
    if range.contains(&bytes) { Ok(bytes) } else { Err(out_of_range(&quoted(written), range)) }
}

fn bytes_of(written: &str) -> Parsed<u64> {
    let size = written.parse::<ByteSize>();
    Ok(size.map_err(|_| format!("{} is not a size; write \"64MiB\"", quoted(written)))?.as_u64())
}

fn out_of_range(written: &str, range: &RangeInclusive<u64>) -> String {
    let (least, most) = (size_text(*range.start()), size_text(*range.end()));
    format!("{written} is out of range; write a size from {least} to {most}")
}

/// Parses a whole number within a range that `T` can hold.
pub(crate) fn number<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl FnOnce(&DeValue<'_>) -> Parsed<T> {
    move |value| {
        let (least, most) = (range.start(), range.end());
        let DeValue::Integer(number) = value else {
            return Err(format!("expected a whole number from {least} to {most}, got {}", describe(value)));
        };
        let number = integer(number).and_then(|number| u64::try_from(number).ok()).filter(|n| range.contains(n));
        let out_of_range = || format!("{} is out of range; write {least} to {most}", describe(value));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(out_of_range)
    }
}

/// Returns the text of a value; the error names what was expected instead.
pub(crate) fn text<'v>(value: &'v DeValue<'_>, expected: &str) -> Parsed<&'v str> {
    value.as_str().ok_or_else(|| format!("expected {expected}, got {}", describe(value)))
}

fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Formats a round number of bytes as it would be written.
fn size_text(bytes: u64) -> String {
    let units = ["", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut count = bytes;
    while count > 0 && count.is_multiple_of(1024) && unit + 1 < units.len() {
        (count, unit) = (count / 1024, unit + 1);
    }
    format!("\"{count}{}\"", units[unit])
}

pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    if text.chars().nth(MOST).is_none() { text.into() } else { text.chars().take(MOST).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(toml: &str, read: impl FnOnce(&DeValue<'_>) -> Parsed<T>) -> Parsed<T> {
        read(DeValue::parse(toml).unwrap().get_ref())
    }

    #[test]
    fn durations_may_be_fractions_and_sums() {
        assert_eq!(read("'2.5s'", duration), Ok(Duration::from_millis(2500)));
        assert_eq!(read("'1m 30s'", duration), Ok(Duration::from_secs(90)));
        assert_eq!(read("'250 ms'", duration), Ok(Duration::from_millis(250)));
        assert_eq!(read("'30d'", duration), Ok(LONGEST));
    }

    #[test]
    fn no_duration_panics_or_is_out_of_range() {
        for bad in ["''", "'0'", "'0s'", "'-1s'", "'2'", "'31d'", "'1us'", "'18446744073709551615s 1000ms'", "'s'", "2"]
        {
            assert!(read(bad, duration).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_text_or_bytes() {
        let bytes = |toml| read(toml, size(1..=4 << 30));
        assert_eq!(bytes("'64KiB'"), Ok(65_536));
        assert_eq!(bytes("'1.5 MB'"), Ok(1_500_000));
        assert_eq!(bytes("1_000"), Ok(1_000));
        assert_eq!(bytes("0x10"), Ok(16));
        for bad in ["''", "'KiB'", "0", "-1", "'5GiB'", "99999999999999999999999999999999999999999", "1.5", "true"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_number_fits_its_type() {
        assert_eq!(read("255", number::<u8>(0..=1_000)), Ok(255));
        assert!(read("256", number::<u8>(0..=1_000)).is_err());
    }

    #[test]
    fn messages_stay_short_and_printable() {
        assert_eq!(quoted("\u{1b}[2J"), "\"\\u{1b}[2J\"");
        assert!(quoted(&"x".repeat(1 << 20)).len() < 200);
    }

    #[test]
    fn sizes_are_shown_as_they_would_be_written() {
        assert_eq!(size_text(64 << 10), "\"64KiB\"");
        assert_eq!(size_text(1500), "\"1500\"");
        assert_eq!(size_text(0), "\"0\"");
    }
}
