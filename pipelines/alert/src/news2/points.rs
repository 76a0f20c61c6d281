//! The chart's columns, one function each. A value that is no number has no points.

fn whole(value: f64) -> Option<i64> {
    value.is_finite().then(|| value.round() as i64)
}

pub(super) fn respiration(per_minute: f64) -> Option<u8> {
    Some(match whole(per_minute)? {
        ..=8 => 3,
        9..=11 => 1,
        12..=20 => 0,
        21..=24 => 2,
        25.. => 3,
    })
}

pub(super) fn spo2_scale_1(percent: f64) -> Option<u8> {
    Some(match whole(percent)? {
        ..=91 => 3,
        92 | 93 => 2,
        94 | 95 => 1,
        96.. => 0,
    })
}

/// From 93 % on the points depend on whether oxygen is given: not known, no points.
pub(super) fn spo2_scale_2(percent: f64, on_oxygen: Option<bool>) -> Option<u8> {
    Some(match whole(percent)? {
        ..=83 => 3,
        84 | 85 => 2,
        86 | 87 => 1,
        88..=92 => 0,
        93.. if !on_oxygen? => 0,
        93 | 94 => 1,
        95 | 96 => 2,
        97.. => 3,
    })
}

pub(super) fn systolic(mm_hg: f64) -> Option<u8> {
    Some(match whole(mm_hg)? {
        ..=90 => 3,
        91..=100 => 2,
        101..=110 => 1,
        111..=219 => 0,
        220.. => 3,
    })
}

pub(super) fn pulse(per_minute: f64) -> Option<u8> {
    Some(match whole(per_minute)? {
        ..=40 => 3,
        41..=50 => 1,
        51..=90 => 0,
        91..=110 => 1,
        111..=130 => 2,
        131.. => 3,
    })
}

pub(super) fn temperature(cel: f64) -> Option<u8> {
    Some(match whole(cel * 10.0)? {
        ..=350 => 3,
        351..=360 => 1,
        361..=380 => 0,
        381..=390 => 1,
        391.. => 2,
    })
}
