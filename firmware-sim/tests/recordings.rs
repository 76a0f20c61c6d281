//! Real recordings are read and played exactly. The folder is named by WARDLINE_RECORDINGS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use firmware_sim::replay::Replay;
use firmware_sim::wfdb::Record;
use std::path::PathBuf;
use std::sync::Arc;
use wardline_proto::frame::delta_decode;

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("WARDLINE_RECORDINGS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: WARDLINE_RECORDINGS does not name a folder of recordings");
    }
    folder
}

/// First and last samples of every signal; `Record::open` verifies the checksums of the headers.
#[test]
fn records_are_read_as_their_headers_say() {
    let Some(folder) = folder() else { return };
    let open = |name: &str| Record::open(&folder.join(name)).unwrap();
    let mitdb = open("100.hea");
    assert_eq!((mitdb.rate_hz, mitdb.samples_per_signal, mitdb.signals.len()), (360.0, 650_000, 2));
    assert_eq!((mitdb.signals[0].samples[0], mitdb.signals[1].samples[0]), (995, 1011));
    assert_eq!((mitdb.signals[0].gain, mitdb.signals[0].baseline), (200.0, 1024));
    let challenge = open("a103l.hea");
    assert_eq!((challenge.samples_per_signal, challenge.signals.len()), (82_500, 3));
    assert_eq!(challenge.signals.iter().map(|s| s.samples[0]).collect::<Vec<_>>(), [-171, 9127, 6042]);
    let segments = open("v102s.hea");
    assert_eq!((segments.samples_per_signal, segments.signals.len()), (225_000, 4));
    for start in [0, 75_000, 150_000] {
        assert_eq!(
            segments.signals.iter().map(|s| s.samples[start]).collect::<Vec<_>>(),
            [-26, 340, -46, 339]
        );
    }
    let numerics = open("3975656n.hea");
    assert_eq!((numerics.samples_per_signal, numerics.signals.len()), (1936, 10));
    assert_eq!((numerics.signals[5].samples[0], numerics.signals[7].samples[0]), (230, i16::MIN));
}

#[test]
fn waveforms_are_played_sample_by_sample() {
    let Some(folder) = folder() else { return };
    for name in ["100.hea", "a103l.hea", "v102s.hea"] {
        let record = Arc::new(Record::open(&folder.join(name)).unwrap());
        let mut replay = Replay::new(Arc::clone(&record)).unwrap();
        assert!(replay.unknown().is_empty(), "{name}");
        replay.start_at(0);
        let mut played = vec![Vec::new(); record.signals.len()];
        for timed in replay {
            for (signal, block) in timed.body.waveforms.iter().enumerate() {
                assert_eq!(block.start_us, record.offset_us(played[signal].len()));
                assert_eq!(block.scale, 1.0 / record.signals[signal].gain);
                played[signal].extend(delta_decode(&block.sample_deltas));
            }
        }
        for (signal, samples) in record.signals.iter().zip(&played) {
            assert!(signal.samples.iter().map(|s| i32::from(*s)).eq(samples.iter().copied()), "{name}");
        }
    }
}

#[test]
fn gaps_of_the_numerics_stay_gaps() {
    let Some(folder) = folder() else { return };
    let record = Arc::new(Record::open(&folder.join("3975656n.hea")).unwrap());
    let replay = Replay::new(Arc::clone(&record)).unwrap();
    assert!(replay.unknown().is_empty());
    let present = |s: &firmware_sim::wfdb::Signal| {
        (0..s.samples.len()).filter(|i| s.is_present(*i) && s.samples[*i] != 0).count()
    };
    let expected: usize = record.signals.iter().map(present).sum();
    let series: Vec<_> = replay.flat_map(|t| t.body.numerics).collect();
    assert_eq!(series.len(), expected);
    assert!(expected > 0 && expected < 10 * 1936, "some are there, some are missing");
    assert!(series.iter().all(|s| s.values[0] != 0.0 && s.start_us % 60_000_000 <= 120), "on the minute");
}
