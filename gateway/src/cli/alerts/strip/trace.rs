//! What is known of each waveform in a window, and why the rest is not.

use std::collections::BTreeMap;
use wardline_archive::read::WaveBlock;

/// Blocks that begin this many intervals late are still contiguous.
const SLACK_INTERVALS: i64 = 2;

/// A window of time, unix microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    /// The alert's onset.
    pub(super) onset_us: i64,
    /// What was measured after this may still be on its way into the archive.
    pub(super) settled_us: i64,
}

/// Why there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The device said that it measured nothing.
    NotMeasured,
    /// No frame came.
    Missing,
    /// It may still come into the archive.
    NotArchivedYet,
    /// It was erased, or the tenant's keys were destroyed.
    Erased,
}

impl Why {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NotMeasured => "not_measured",
            Self::Missing => "missing",
            Self::NotArchivedYet => "not_archived_yet",
            Self::Erased => "erased",
        }
    }
}

/// A span without samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    pub(super) why: Why,
}

/// One waveform in the window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trace {
    pub(super) mdc_code: u32,
    pub(super) mdc_ref_id: String,
    pub(super) ucum_unit: String,
    /// Runs of samples without a gap between them: time and value.
    pub(super) runs: Vec<Vec<(i64, f64)>>,
    pub(super) gaps: Vec<Gap>,
}

/// Makes the traces of the blocks in a window, in order of their metrics.
pub(super) fn traces(mut blocks: Vec<WaveBlock>, window: Window) -> Vec<Trace> {
    blocks.sort_by_key(|block| block.start_us);
    let mut by_metric: BTreeMap<u32, Vec<WaveBlock>> = BTreeMap::new();
    blocks.into_iter().for_each(|block| by_metric.entry(block.mdc_code).or_default().push(block));
    by_metric.into_values().filter_map(|blocks| trace(&blocks, window)).collect()
}

fn trace(blocks: &[WaveBlock], window: Window) -> Option<Trace> {
    let first = blocks.first()?;
    let mut drawn = Drawn { window, at_us: window.from_us, runs: vec![Vec::new()], gaps: Vec::new() };
    let mut slack_us = 0;
    for block in blocks {
        slack_us = SLACK_INTERVALS * i64::try_from(block.interval_ns / 1000).unwrap_or(i64::MAX / 4);
        if block.start_us > drawn.at_us.saturating_add(slack_us) {
            drawn.gap_until(block.start_us, None);
        }
        for (index, value) in block.values.iter().enumerate() {
            let (at_us, next_us) = (block.time_us(index), block.time_us(index + 1));
            // Before the window, behind it, or said by the block before.
            if at_us + slack_us / 4 < drawn.at_us || at_us >= window.to_us {
                continue;
            }
            match value {
                Some(value) => drawn.sample(at_us, *value, next_us),
                None => drawn.gap_until(next_us, Some(Why::NotMeasured)),
            }
        }
    }
    // The last sample's interval may end a rounding before the window does.
    if window.to_us > drawn.at_us.saturating_add(slack_us) {
        drawn.gap_until(window.to_us, None);
    }
    let Drawn { mut runs, gaps, .. } = drawn;
    runs.retain(|run| !run.is_empty());
    Some(Trace {
        mdc_code: first.mdc_code,
        mdc_ref_id: first.mdc_ref_id.clone(),
        ucum_unit: first.ucum_unit.clone(),
        runs,
        gaps,
    })
}

impl Trace {
    /// Says of what was erased that it was, wherever nothing is known.
    pub(super) fn erased(mut self, spans: &[(i64, i64)]) -> Self {
        self.gaps = self.gaps.into_iter().flat_map(|gap| split(gap, spans)).collect();
        self
    }
}

/// Cuts a gap into what was erased of it and the rest.
fn split(gap: Gap, spans: &[(i64, i64)]) -> Vec<Gap> {
    let (mut parts, mut at_us) = (Vec::new(), gap.from_us);
    let mut part = |from_us: i64, to_us: i64, why| {
        if from_us < to_us {
            parts.push(Gap { from_us, to_us, why });
        }
    };
    for (from_us, to_us) in spans {
        let (from_us, to_us) = ((*from_us).max(at_us), (*to_us).min(gap.to_us));
        if from_us < to_us {
            part(at_us, from_us, gap.why);
            part(from_us, to_us, Why::Erased);
            at_us = to_us;
        }
    }
    part(at_us, gap.to_us, gap.why);
    parts
}

struct Drawn {
    window: Window,
    /// Everything before it is a sample or a gap.
    at_us: i64,
    runs: Vec<Vec<(i64, f64)>>,
    gaps: Vec<Gap>,
}

impl Drawn {
    fn sample(&mut self, at_us: i64, value: f64, next_us: i64) {
        if let Some(run) = self.runs.last_mut() {
            run.push((at_us, value));
        }
        self.at_us = next_us;
    }

    /// Notes that nothing is known up to a time.
    fn gap_until(&mut self, to_us: i64, why: Option<Why>) {
        let (from_us, to_us) = (self.at_us, to_us.min(self.window.to_us));
        if from_us >= to_us {
            return;
        }
        let why = why.unwrap_or_else(|| why_nothing(to_us, self.window));
        match self.gaps.last_mut() {
            Some(last) if last.to_us == from_us && last.why == why => last.to_us = to_us,
            _ => self.gaps.push(Gap { from_us, to_us, why }),
        }
        self.at_us = to_us;
        if self.runs.last().is_some_and(|run| !run.is_empty()) {
            self.runs.push(Vec::new());
        }
    }
}

/// Says why there is nothing up to a time.
pub(super) fn why_nothing(to_us: i64, window: Window) -> Why {
    if to_us > window.settled_us { Why::NotArchivedYet } else { Why::Missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window =
        Window { from_us: 1_000_000, to_us: 2_000_000, onset_us: 1_500_000, settled_us: 3_000_000 };

    /// Ten samples, 10 ms apart.
    fn block(start_us: i64, values: [Option<f64>; 10]) -> WaveBlock {
        WaveBlock {
            mdc_code: 131_330,
            mdc_ref_id: "MDC_ECG_LEAD_II".into(),
            ucum_unit: "mV".into(),
            start_us,
            interval_ns: 10_000_000,
            values: values.to_vec(),
        }
    }

    fn whole() -> Vec<WaveBlock> {
        (0..10).map(|n| block(1_000_000 + n * 100_000, [Some(n as f64); 10])).collect()
    }

    #[test]
    fn a_whole_window_has_every_sample_once_and_no_gap() {
        let mut twice = whole();
        twice.extend(whole());
        twice.push(block(950_000, [Some(0.0); 10]));
        let traces = traces(twice, WINDOW);
        assert_eq!((traces.len(), traces[0].gaps.len(), traces[0].runs.len()), (1, 0, 1));
        let times: Vec<_> = traces[0].runs[0].iter().map(|(at, _)| *at).collect();
        assert!(times.len() == 100 || times.len() == 101, "{}", times.len());
        assert!(times.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn what_rounds_to_less_than_the_window_is_no_gap() {
        let block = |second: i64| WaveBlock {
            interval_ns: 1_000_000_000 / 360,
            values: vec![Some(0.0); 360],
            ..block(1_000_000 + second * 1_000_000, [None; 10])
        };
        let traces = traces((0..3).map(block).collect(), Window { to_us: 4_000_000, ..WINDOW });
        assert_eq!((traces[0].gaps.len(), traces[0].runs[0].len()), (0, 3 * 360));
    }

    #[test]
    fn what_was_erased_of_a_gap_says_so_and_the_rest_keeps_its_reason() {
        let mut blocks = whole();
        blocks.drain(2..6);
        let spans = [(0, 1_250_000), (1_300_000, 1_350_000), (1_340_000, 1_400_000), (1_550_000, 9_000_000)];
        let told = traces(blocks, WINDOW).remove(0).erased(&spans);
        let gap = |from_us, to_us, why| Gap { from_us, to_us, why };
        let expected = [
            gap(1_200_000, 1_250_000, Why::Erased),
            gap(1_250_000, 1_300_000, Why::Missing),
            gap(1_300_000, 1_350_000, Why::Erased),
            gap(1_350_000, 1_400_000, Why::Erased),
            gap(1_400_000, 1_550_000, Why::Missing),
            gap(1_550_000, 1_600_000, Why::Erased),
        ];
        assert_eq!(told.gaps, expected);
        assert_eq!(told.runs.len(), 2, "samples that are there are shown");
    }

    #[test]
    fn each_gap_says_why() {
        let mut blocks = whole();
        blocks.remove(3);
        blocks[6].values[4..7].fill(None);
        blocks.pop();
        let missing = Gap { from_us: 1_300_000, to_us: 1_400_000, why: Why::Missing };
        let lead_off = Gap { from_us: 1_740_000, to_us: 1_770_000, why: Why::NotMeasured };
        let end = |why| Gap { from_us: 1_900_000, to_us: 2_000_000, why };
        let told = traces(blocks.clone(), WINDOW).remove(0);
        assert_eq!(told.gaps, [missing, lead_off, end(Why::Missing)]);
        assert_eq!(told.runs.len(), 3);
        let early = Window { settled_us: 1_950_000, ..WINDOW };
        assert_eq!(traces(blocks, early).remove(0).gaps[2], end(Why::NotArchivedYet));
    }
}
