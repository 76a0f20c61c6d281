//! An oracle for WFDB records, written apart from the simulator's reader: formats 212 and 16, fixed-layout segments.

use anyhow::{Context, bail, ensure};
use std::path::{Path, PathBuf};

/// One signal of a record.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) name: String,
    /// Raw samples, in the record's own integer units.
    pub(crate) samples: Vec<i32>,
}

/// A record, its segments joined.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) rate_hz: f64,
    pub(crate) signals: Vec<Signal>,
}

/// Returns the folder of recordings; `None`, with a line printed, when none is given.
pub(crate) fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WARDLINE_RECORDINGS").map(PathBuf::from);
    if folder.is_none() {
        println!("SKIPPED {test}: WARDLINE_RECORDINGS is not set");
    }
    folder
}

/// Reads a record by its header.
pub(crate) fn read(header: &Path) -> anyhow::Result<Recording> {
    let text = std::fs::read_to_string(header).with_context(|| header.display().to_string())?;
    let folder = header.parent().context("a header lies in a folder")?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let fields: Vec<&str> = lines.next().context("empty header")?.split_whitespace().collect();
    let (name, signals) = (fields.first().context("no name")?, fields.get(1).context("no signal count")?);
    let rate_hz: f64 =
        fields.get(2).context("no rate")?.split(['/', '(']).next().unwrap_or_default().parse()?;
    if name.contains('/') {
        return join(lines.map(|line| segment(folder, line)).collect::<Result<_, _>>()?);
    }
    let specs: Vec<Vec<&str>> =
        lines.take(signals.parse()?).map(|l| l.split_whitespace().collect()).collect();
    let file = folder.join(specs.first().context("no signal")?.first().context("no file")?);
    let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let length: usize = fields.get(3).map_or(Ok(usize::MAX), |n| n.parse())?;
    let flat = samples(specs[0].get(1).context("no format")?, &bytes)?;
    let count = specs.len();
    let column = |index: usize| flat.iter().skip(index).step_by(count).take(length).copied().collect();
    let signals = specs.iter().enumerate().map(|(index, spec)| signal(spec, column(index)));
    Ok(Recording { rate_hz, signals: signals.collect::<Result<_, _>>()? })
}

/// Takes a signal's samples when their sum is the header's (0 where the header has none).
fn signal(spec: &[&str], samples: Vec<i32>) -> anyhow::Result<Signal> {
    let name = spec.get(8..).unwrap_or_default().join(" ");
    let expected: i64 = spec.get(6).context("no checksum")?.parse()?;
    let sum: i64 = samples.iter().map(|s| i64::from(*s)).sum();
    ensure!(expected == 0 || (sum - expected) % 65_536 == 0, "{name}: the checksum is not the header's");
    Ok(Signal { name, samples })
}

/// A segment of a multi-segment record is a record of its own.
fn segment(folder: &Path, line: &str) -> anyhow::Result<Recording> {
    let name = line.split_whitespace().next().context("empty segment line")?;
    read(&folder.join(format!("{name}.hea")))
}

fn join(segments: Vec<Recording>) -> anyhow::Result<Recording> {
    let mut segments = segments.into_iter();
    let mut whole = segments.next().context("no segment")?;
    for next in segments {
        ensure!(next.signals.len() == whole.signals.len(), "segments of another layout");
        for (signal, more) in whole.signals.iter_mut().zip(next.signals) {
            signal.samples.extend(more.samples);
        }
    }
    Ok(whole)
}

/// Unpacks the interleaved samples of a signal file. `FORMAT+N` skips N bytes.
fn samples(format: &str, bytes: &[u8]) -> anyhow::Result<Vec<i32>> {
    let (format, prefix) = format.split_once('+').unwrap_or((format, "0"));
    let bytes = bytes.get(prefix.parse()?..).context("file shorter than its prefix")?;
    match format {
        "16" => Ok(bytes.chunks_exact(2).map(|b| i32::from(i16::from_le_bytes([b[0], b[1]]))).collect()),
        "212" => Ok(bytes.chunks_exact(3).flat_map(twelve_bits).collect()),
        other => bail!("format {other}"),
    }
}

/// Two samples of 12 bits in three bytes: the middle byte has the high nibbles, first sample low.
fn twelve_bits(b: &[u8]) -> [i32; 2] {
    let sign = |value: i32| if value > 2047 { value - 4096 } else { value };
    let middle = i32::from(b[1]);
    [sign(i32::from(b[0]) | (middle & 0x0F) << 8), sign(i32::from(b[2]) | (middle & 0xF0) << 4)]
}

#[test]
fn the_oracle_reads_every_record() -> anyhow::Result<()> {
    let Some(folder) = folder("the_oracle_reads_every_record") else { return Ok(()) };
    for (name, signals, samples) in
        [("100", 2, 650_000), ("v102s", 4, 225_000), ("a103l", 3, 82_500), ("3975656n", 10, 1936)]
    {
        let record = read(&folder.join(format!("{name}.hea")))?;
        assert_eq!(record.signals.len(), signals, "{name}");
        assert!(record.signals.iter().all(|s| s.samples.len() == samples), "{name}");
        assert!(record.rate_hz > 0.0);
    }
    Ok(())
}
