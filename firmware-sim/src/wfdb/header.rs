//! The WFDB header file (header(5) of the WFDB Applications Guide), as far as Wardline plays it.
//!
//! ```text
//! # comment
//! NAME[/SEGMENTS] SIGNALS [RATE[/COUNTER[(BASE)]]] [SAMPLES] [TIME] [DATE]
//! FILE FORMAT[xN][:SKEW][+OFFSET] [GAIN[(BASELINE)][/UNITS]] [RESOLUTION] [ZERO] [FIRST] [CHECKSUM] [BLOCK] [NAME]
//! ```
//! Of a multi-segment record the lines after the first are `SEGMENT SAMPLES`.

use super::WfdbError;

/// Largest header file, bytes.
pub(super) const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Most signals of a record.
const SIGNALS_MAX: usize = 64;
/// Most segments of a record.
const SEGMENTS_MAX: usize = 4096;
/// Gain when the header gives none or 0 (header(5)).
const GAIN_DEFAULT: f64 = 200.0;
/// Sampling rate when the header gives none (header(5)).
const RATE_DEFAULT_HZ: f64 = 250.0;

/// A parsed header.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) rate_hz: f64,
    /// Samples per signal; `None` when the header leaves it to the length of the files.
    pub(super) samples: Option<usize>,
    pub(super) layout: Layout,
    pub(super) comments: Vec<String>,
}

/// What follows the record line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Layout {
    /// One line per signal.
    Signals(Vec<SignalLine>),
    /// One line per segment: its name and samples per signal.
    Segments { signals: usize, segments: Vec<(String, usize)> },
}

/// How samples are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// 12-bit two's complement, two samples in three bytes.
    F212,
    /// 16-bit two's complement, little endian.
    F16,
}

/// One signal line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SignalLine {
    pub(super) file: String,
    pub(super) format: Format,
    pub(super) byte_offset: usize,
    pub(super) gain: f64,
    pub(super) baseline: i32,
    pub(super) units: String,
    pub(super) initial: Option<i32>,
    pub(super) checksum: Option<i16>,
    pub(super) name: String,
}

impl Header {
    /// Reads a header's text.
    pub(super) fn parse(text: &str) -> Result<Self, WfdbError> {
        let comments = text.lines().filter_map(|l| l.trim_start().strip_prefix('#'));
        let comments = comments.map(|c| c.trim().to_owned()).collect();
        let mut lines =
            text.lines().map(str::trim).enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#'));
        let (line, record) = lines.next().ok_or(WfdbError::header(0, "no record line"))?;
        let bad = |why| WfdbError::header(line, why);
        let mut fields = record.split_ascii_whitespace();
        let name_field = fields.next().ok_or(bad("no record name"))?;
        let signals: usize = number(fields.next().ok_or(bad("no number of signals"))?).map_err(bad)?;
        if signals == 0 || signals > SIGNALS_MAX {
            return Err(bad("a record has 1 to 64 signals"));
        }
        let rate_hz = match fields.next() {
            Some(field) => number(field.split(['/', '(']).next().unwrap_or(field)).map_err(bad)?,
            None => RATE_DEFAULT_HZ,
        };
        if !(rate_hz > 0.0 && rate_hz <= 1e6) {
            return Err(bad("the sampling rate lies above 0 and at most 1 MHz"));
        }
        let samples = fields.next().map(number::<usize>).transpose().map_err(bad)?.filter(|n| *n > 0);
        let (name, layout) = match name_field.split_once('/') {
            Some((name, count)) => (name, segment_lines(signals, number(count).map_err(bad)?, lines)?),
            None => (name_field, signal_lines(signals, lines)?),
        };
        Ok(Self { name: name.to_owned(), rate_hz, samples, layout, comments })
    }
}

fn segment_lines<'a>(
    signals: usize,
    count: usize,
    lines: impl Iterator<Item = (usize, &'a str)>,
) -> Result<Layout, WfdbError> {
    let mut segments = Vec::new();
    for (line, text) in lines {
        let bad = |why| WfdbError::header(line, why);
        let mut fields = text.split_ascii_whitespace();
        let (Some(name), Some(samples)) = (fields.next(), fields.next()) else {
            return Err(bad("a segment line is NAME SAMPLES"));
        };
        let samples = number(samples).map_err(bad)?;
        if samples == 0 {
            return Err(WfdbError::Unsupported("variable-layout records"));
        }
        segments.push((file_name(name).map_err(bad)?, samples));
    }
    if count == 0 || count > SEGMENTS_MAX || segments.len() != count {
        return Err(WfdbError::header(0, "the number of segments is not the one announced"));
    }
    Ok(Layout::Segments { signals, segments })
}

fn signal_lines<'a>(
    count: usize,
    lines: impl Iterator<Item = (usize, &'a str)>,
) -> Result<Layout, WfdbError> {
    let signals = lines.map(|(line, text)| signal_line(line, text)).collect::<Result<Vec<_>, _>>()?;
    if signals.len() != count {
        return Err(WfdbError::header(0, "the number of signals is not the one announced"));
    }
    Ok(Layout::Signals(signals))
}

fn signal_line(line: usize, text: &str) -> Result<SignalLine, WfdbError> {
    let bad = |why| WfdbError::header(line, why);
    let mut fields = text.split_ascii_whitespace();
    let file = file_name(fields.next().ok_or(bad("no file name"))?).map_err(bad)?;
    let (format, byte_offset) = storage(fields.next().ok_or(bad("no format"))?, line)?;
    let (gain, baseline, units) = scaling(fields.next().unwrap_or("0")).map_err(bad)?;
    let mut integer = || fields.next().map(number::<i32>).transpose().map_err(bad);
    let (_resolution, zero, initial, checksum, _block) =
        (integer()?, integer()?, integer()?, integer()?, integer()?);
    let name = fields.collect::<Vec<_>>().join(" ");
    let name = if name.is_empty() { format!("signal {line}") } else { name };
    let baseline = baseline.or(zero).unwrap_or(0);
    let checksum = checksum.map(|sum| sum as i16);
    Ok(SignalLine { file, format, byte_offset, gain, baseline, units, initial, checksum, name })
}

/// Reads `FORMAT[xN][:SKEW][+OFFSET]`.
fn storage(field: &str, line: usize) -> Result<(Format, usize), WfdbError> {
    let (rest, offset) = match field.split_once('+') {
        Some((rest, offset)) => (rest, number(offset).map_err(|why| WfdbError::header(line, why))?),
        None => (field, 0),
    };
    let format = match rest {
        "212" => Format::F212,
        "16" => Format::F16,
        _ if rest.contains(['x', ':']) => {
            return Err(WfdbError::Unsupported("several samples per frame, or skew"));
        }
        _ => return Err(WfdbError::Unsupported("formats other than 212 and 16")),
    };
    Ok((format, offset))
}

/// Reads `GAIN[(BASELINE)][/UNITS]`.
fn scaling(field: &str) -> Result<(f64, Option<i32>, String), &'static str> {
    let (value, units) = field.split_once('/').unwrap_or((field, "mV"));
    let (gain, baseline) = match value.split_once('(') {
        Some((gain, rest)) => {
            let baseline = rest.strip_suffix(')').ok_or("a baseline ends with )")?;
            (gain, Some(number(baseline)?))
        }
        None => (value, None),
    };
    let gain: f64 = number(gain)?;
    if !gain.is_finite() {
        return Err("the gain is not finite");
    }
    Ok((if gain == 0.0 { GAIN_DEFAULT } else { gain }, baseline, units.to_owned()))
}

fn number<T: std::str::FromStr>(field: &str) -> Result<T, &'static str> {
    field.parse().map_err(|_| "a field is not the number that it should be")
}

/// Takes plain file names only: a header never leads out of its folder.
fn file_name(field: &str) -> Result<String, &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if field == "~" {
        return Err("null segments are not played");
    }
    if field.starts_with('.') || !field.bytes().all(plain) {
        return Err("file names are of letters, digits, _, - and .");
    }
    Ok(field.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signal(text: &str) -> SignalLine {
        signal_line(1, text).unwrap()
    }

    #[test]
    fn optional_fields_have_the_defaults_of_the_format() {
        let full = signal("a.mat 16+24 1.052e+04(-3)/uV 16 7 9127 -301 0 chest lead");
        assert_eq!((full.format, full.byte_offset, full.gain, full.baseline), (Format::F16, 24, 10520.0, -3));
        assert_eq!((full.units.as_str(), full.name.as_str()), ("uV", "chest lead"));
        assert_eq!((full.initial, full.checksum), (Some(9127), Some(-301)));
        let bare = signal("100.dat 212 0 11 1024");
        assert_eq!((bare.gain, bare.baseline, bare.units.as_str()), (200.0, 1024, "mV"));
        assert_eq!((bare.initial, bare.checksum), (None, None));
    }

    #[test]
    fn what_is_not_played_is_refused() {
        for bad in ["a.dat 212x2", "a.dat 212:1", "a.dat 8", "../a.dat 16", "/etc/x 16", "a.dat 16 1(2"] {
            assert!(signal_line(1, bad).is_err(), "{bad}");
        }
        for bad in
            ["", "a", "a 0", "a 1 0", "a 1 250 10", "a/2 1 250 10\nb 5", "a/1 1 250 10\nb 0", "a 1 nan\n"]
        {
            assert!(Header::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-c0-9/. +()x:#~\\n-]{0,120}", signal in "\\PC{0,60}") {
            let _ = (Header::parse(&text), signal_line(1, &signal));
        }
    }

    #[test]
    fn a_rate_may_carry_a_counter() {
        let header = Header::parse("# c\nn 1 0.0166666666667/125(3) 1936 0:0:0\nn.dat 16\n#d").unwrap();
        assert_eq!((header.rate_hz, header.samples), (0.016_666_666_666_7, Some(1936)));
        assert_eq!(header.comments, ["c", "d"]);
    }
}
