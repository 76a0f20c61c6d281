//! Reads PhysioNet's WFDB records: formats 212 and 16, interleaved signals, multi-segment fixed layout.
//!
//! What the header says of a signal's first value and checksum is verified where it is not zero, so a record is
//! either read exactly or refused. Samples stay the integers of the record.
//!
//! **Not read:** other formats, several samples per frame, skew, variable layout, annotations.

mod header;
mod samples;

use header::{HEADER_BYTES_MAX, Header, Layout, SignalLine};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest signal file, bytes.
const SIGNAL_FILE_BYTES_MAX: u64 = 1 << 30;

/// Says why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WfdbError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is longer than the reader takes.
    #[error("{} is longer than {limit_bytes} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// The bound.
        limit_bytes: u64,
    },
    /// A header line breaks the format.
    #[error("header line {line}: {why}")]
    Header {
        /// The line, from 1; 0 for the header as a whole.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// The record uses a part of the format that is not played.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// A signal file holds fewer samples than the header says.
    #[error("{file} holds fewer samples than its header says")]
    Truncated {
        /// Which file.
        file: String,
    },
    /// The samples are not those that the header was written for.
    #[error("signal {signal}: {what} is not the header's")]
    Mismatch {
        /// Which signal.
        signal: String,
        /// First value or checksum.
        what: &'static str,
    },
    /// The segments of a record differ in their signals or rate.
    #[error("segment {segment} differs from the first in its signals, gains or rate")]
    Segment {
        /// Which segment.
        segment: String,
    },
}

impl WfdbError {
    fn header(line: usize, why: &'static str) -> Self {
        Self::Header { line: line + 1, why }
    }
}

/// A recording, whole, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Name of the record.
    pub name: String,
    /// Samples per second of every signal.
    pub rate_hz: f64,
    /// Samples of every signal.
    pub samples_per_signal: usize,
    /// The signals, in the header's order, all of the same length.
    pub signals: Vec<Signal>,
    /// Comment lines of the header.
    pub comments: Vec<String>,
}

/// One signal of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// What it is called, such as `MLII`.
    pub name: String,
    /// Digital steps per unit.
    pub gain: f64,
    /// Digital value of physical zero.
    pub baseline: i32,
    /// Physical unit as the record writes it, such as `mV`, `NU`, `bpm`.
    pub units: String,
    /// The value that stands for "no sample": -2048 in format 212, -32768 in format 16.
    pub gap_sample: i16,
    /// Digital values.
    pub samples: Vec<i16>,
}

impl Signal {
    /// Says whether sample `index` was recorded; false beyond the end.
    pub fn is_present(&self, index: usize) -> bool {
        self.samples.get(index).is_some_and(|s| *s != self.gap_sample)
    }

    /// Returns the physical value of a digital one.
    pub fn physical(&self, sample: i16) -> f64 {
        (f64::from(sample) - f64::from(self.baseline)) / self.gain
    }
}

impl Record {
    /// Reads the record whose header is `path`; signal files lie beside it.
    pub fn open(path: &Path) -> Result<Self, WfdbError> {
        let header = read_header(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        match &header.layout {
            Layout::Signals(lines) => single(&header, lines, folder),
            Layout::Segments { signals, segments } => joined(&header, *signals, segments, folder),
        }
    }

    /// Returns how long the record plays, microseconds.
    pub fn duration_us(&self) -> i64 {
        (self.samples_per_signal as f64 * 1e6 / self.rate_hz).round() as i64
    }

    /// Returns when sample `index` was taken, microseconds from the record's start. No drift accumulates.
    pub fn offset_us(&self, index: usize) -> i64 {
        (index as f64 * 1e6 / self.rate_hz).round() as i64
    }

    /// Returns the time between samples, nanoseconds, rounded.
    pub fn interval_ns(&self) -> u64 {
        (1e9 / self.rate_hz).round() as u64
    }
}

fn single(header: &Header, lines: &[SignalLine], folder: &Path) -> Result<Record, WfdbError> {
    let mut signals: Vec<Signal> = Vec::with_capacity(lines.len());
    // Signals of one file are neighbours in the header and interleaved in the file.
    for group in lines.chunk_by(|a, b| a.file == b.file) {
        let bytes = read_bounded(&folder.join(&group[0].file), SIGNAL_FILE_BYTES_MAX)?;
        for (line, samples) in group.iter().zip(samples::columns(group, &bytes, header.samples)?) {
            verify(line, &samples)?;
            signals.push(Signal {
                name: line.name.clone(),
                gain: line.gain,
                baseline: line.baseline,
                units: line.units.clone(),
                gap_sample: samples::gap_sample(line.format),
                samples,
            });
        }
    }
    let samples_per_signal = signals.first().map_or(0, |s| s.samples.len());
    if signals.iter().any(|s| s.samples.len() != samples_per_signal) {
        return Err(WfdbError::header(0, "the signal files differ in length"));
    }
    let (name, comments) = (header.name.clone(), header.comments.clone());
    Ok(Record { name, rate_hz: header.rate_hz, samples_per_signal, signals, comments })
}

fn joined(
    header: &Header,
    signals: usize,
    segments: &[(String, usize)],
    folder: &Path,
) -> Result<Record, WfdbError> {
    let mut whole: Option<Record> = None;
    for (name, samples) in segments {
        let part_header = read_header(&folder.join(format!("{name}.hea")))?;
        let Layout::Signals(lines) = &part_header.layout else {
            return Err(WfdbError::Unsupported("segments within segments"));
        };
        let part = single(&part_header, lines, folder)?;
        let first = whole.get_or_insert_with(|| empty_like(header, &part));
        let alike = |(a, b): (&Signal, &Signal)| {
            (&a.name, a.gain, a.baseline, &a.units) == (&b.name, b.gain, b.baseline, &b.units)
        };
        let fits = part.samples_per_signal == *samples
            && part.signals.len() == signals
            && part.rate_hz == header.rate_hz
            && first.signals.iter().zip(&part.signals).all(alike);
        if !fits {
            return Err(WfdbError::Segment { segment: name.clone() });
        }
        first.samples_per_signal += part.samples_per_signal;
        for (to, from) in first.signals.iter_mut().zip(part.signals) {
            to.samples.extend(from.samples);
        }
    }
    let whole = whole.ok_or(WfdbError::header(0, "no segments"))?;
    match header.samples {
        Some(n) if n != whole.samples_per_signal => {
            Err(WfdbError::header(0, "the segments do not add up to the record's length"))
        }
        _ => Ok(whole),
    }
}

fn empty_like(header: &Header, part: &Record) -> Record {
    let signals = part.signals.iter().map(|s| Signal { samples: Vec::new(), ..s.clone() }).collect();
    let comments = [header.comments.as_slice(), &part.comments].concat();
    Record { name: header.name.clone(), rate_hz: header.rate_hz, samples_per_signal: 0, signals, comments }
}

fn verify(line: &SignalLine, samples: &[i16]) -> Result<(), WfdbError> {
    let mismatch = |what| Err(WfdbError::Mismatch { signal: line.name.clone(), what });
    let first = samples.first().copied().map(i32::from);
    if line.initial.is_some_and(|initial| initial != 0 && Some(initial) != first) {
        return mismatch("the first value");
    }
    let sum = samples.iter().fold(0_i16, |sum, s| sum.wrapping_add(*s));
    if line.checksum.is_some_and(|checksum| checksum != 0 && checksum != sum) {
        return mismatch("the checksum");
    }
    Ok(())
}

fn read_header(path: &Path) -> Result<Header, WfdbError> {
    let bytes = read_bounded(path, HEADER_BYTES_MAX as u64)?;
    Header::parse(&String::from_utf8_lossy(&bytes))
}

fn read_bounded(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, WfdbError> {
    let io = |source| WfdbError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(limit_bytes + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(WfdbError::TooLong { path: path.to_owned(), limit_bytes });
    }
    Ok(bytes)
}
