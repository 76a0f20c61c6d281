//! Determinism and plausibility of the synthetic monitor.

use super::*;
use wardline_proto::frame::{delta_decode, lane_of};
use wardline_proto::v1::{AlarmPhase, Lane};

const SPO2: u32 = 150_456;
const HEART_RATE: u32 = 147_842;

fn play(seed: u64, device: &str, seconds: i64, episodes: &[&str]) -> Vec<Timed> {
    let episodes = episodes.iter().map(|e| e.parse().unwrap()).collect();
    let mut synth = Synth::new(SynthOptions { seed, episodes, device_alarms: true }, device);
    synth.start_at(1_800_000_000_000_000);
    synth.take_while(|t| t.ready_us <= seconds * SECOND_US).collect()
}

fn values(played: &[Timed], mdc_code: u32) -> Vec<f64> {
    let series = played.iter().flat_map(|t| &t.body.numerics).filter(|s| s.mdc_code == mdc_code);
    series.flat_map(|s| s.values.clone()).collect()
}

fn wave(played: &[Timed], mdc_code: u32) -> Vec<f64> {
    let blocks = played.iter().flat_map(|t| &t.body.waveforms).filter(|w| w.mdc_code == mdc_code);
    let physical = |w: &WaveformBlock| {
        delta_decode(&w.sample_deltas)
            .into_iter()
            .map(|s| (f64::from(s) - w.offset) * w.scale)
            .collect::<Vec<_>>()
    };
    blocks.flat_map(physical).collect()
}

/// Beats per minute from the R peaks: local maxima above half the height of R.
fn rate_from_ecg(samples: &[f64]) -> f64 {
    let mut peaks: Vec<usize> = Vec::new();
    for at in 1..samples.len() - 1 {
        let peak = samples[at] > 0.6 && samples[at] >= samples[at - 1] && samples[at] > samples[at + 1];
        if peak && peaks.last().is_none_or(|last| at - last > 50) {
            peaks.push(at);
        }
    }
    let (first, last) = (peaks[0], peaks[peaks.len() - 1]);
    (peaks.len() - 1) as f64 * 60.0 * 250.0 / (last - first) as f64
}

#[test]
fn the_same_seed_and_device_make_the_same_signals() {
    let once = play(7, "mon-1", 90, &["desaturation@20s+30s"]);
    assert_eq!(once, play(7, "mon-1", 90, &["desaturation@20s+30s"]));
    assert_ne!(once, play(7, "mon-2", 90, &["desaturation@20s+30s"]));
    assert_ne!(once, play(8, "mon-1", 90, &["desaturation@20s+30s"]));
}

#[test]
fn heart_rate_agrees_with_the_r_peaks() {
    for (device, episodes) in
        [("mon-1", &[][..]), ("mon-2", &["tachycardia=160@0s+1h"]), ("mon-3", &["bradycardia@0s+1h"])]
    {
        let played = play(3, device, 90, episodes);
        let ecg = wave(&played, 131_330);
        let told = &values(&played, HEART_RATE)[30..];
        let told = told.iter().sum::<f64>() / told.len() as f64;
        let seen = rate_from_ecg(&ecg[30 * 250..]);
        assert!((told / seen - 1.0).abs() < 0.05, "{device}: told {told}, seen {seen}");
    }
}

#[test]
fn a_desaturation_falls_below_90_and_recovers() {
    let played = play(1, "mon-1", 120, &["desaturation@20s+30s"]);
    let spo2 = values(&played, SPO2);
    assert!(spo2[..20].iter().all(|v| *v >= 94.0), "{:?}", &spo2[..20]);
    assert!(spo2[32..50].iter().all(|v| *v < 90.0), "{:?}", &spo2[32..50]);
    assert!(spo2[100..].iter().all(|v| *v >= 94.0), "{:?}", &spo2[100..]);
    let phases: Vec<_> =
        played.iter().flat_map(|t| &t.body.alarms).map(|a| (a.phase(), a.mdc_code)).collect();
    assert_eq!(phases, [(AlarmPhase::Start, 196_670), (AlarmPhase::End, 196_670)]);
}

#[test]
fn without_a_probe_readings_are_marked_and_the_pleth_is_a_gap() {
    let played = play(1, "mon-1", 30, &["probe_off@10s+5s"]);
    let series = played.iter().flat_map(|t| &t.body.numerics).filter(|s| s.mdc_code == SPO2);
    let marked = series.filter(|s| s.statuses == [NO_PROBE]).count();
    let blocks = played.iter().flat_map(|t| &t.body.waveforms).filter(|w| w.mdc_code == 150_452);
    let gaps: u32 = blocks.flat_map(|w| &w.gaps).map(|g| g.count).sum();
    assert_eq!((marked, gaps), (5, 5 * 125));
    let events: Vec<_> = played.iter().flat_map(|t| &t.body.events).map(|e| e.name.as_str()).collect();
    assert_eq!(events, ["probe_off", "probe_on"]);
    let alarms: Vec<_> = played.iter().flat_map(|t| &t.body.alarms).collect();
    assert_eq!(alarms.len(), 2);
    assert_eq!(alarms[0].condition_id, alarms[1].condition_id);
}

#[test]
fn every_item_is_of_the_catalogue_and_in_its_own_lane() {
    for timed in play(5, "mon-9", 70, &["probe_off@10s+5s"]) {
        let body = &timed.body;
        let kinds = [body.numerics.len(), body.waveforms.len(), body.alarms.len(), body.events.len()];
        assert_eq!(kinds.iter().filter(|n| **n > 0).count(), 1);
        assert_ne!(lane_of(body), Lane::Unspecified);
        for series in &body.numerics {
            let metric = codes::by_code(series.mdc_code).unwrap();
            assert_eq!(metric.ucum_unit, series.ucum_unit);
            assert!(series.values.iter().all(|v| metric.is_plausible(*v)), "{}", metric.ref_id);
        }
        for block in &body.waveforms {
            assert_eq!(codes::by_code(block.mdc_code).unwrap().ucum_unit, block.ucum_unit);
            assert!(delta_decode(&block.sample_deltas).iter().all(|s| i16::try_from(*s).is_ok()));
        }
    }
}

#[test]
fn blocks_of_a_wave_follow_each_other_without_a_hole() {
    for (mdc_code, rate_x2) in [(131_330, 500), (150_452, 250), (151_780, 125)] {
        let played = play(5, "mon-9", 20, &[]);
        let blocks: Vec<_> =
            played.iter().flat_map(|t| &t.body.waveforms).filter(|w| w.mdc_code == mdc_code).collect();
        let samples: usize = blocks.iter().map(|b| b.sample_deltas.len()).sum();
        assert_eq!(samples, 20 * rate_x2 / 2);
        for pair in blocks.windows(2) {
            let length_us = pair[0].sample_deltas.len() as u64 * pair[0].interval_ns / 1000;
            assert_eq!(pair[0].start_us + length_us as i64, pair[1].start_us);
        }
    }
}
