//! Every bound of a profile and of its judges (LIM-1).

use wardline_proto::limits::SAMPLES_MAX;

/// Largest profile, bytes.
pub const PROFILE_BYTES_MAX: usize = 256 * 1024;
/// Most measurements of one model.
pub const MEASUREMENTS_MAX: usize = 256;
/// Most alarm defaults of one measurement.
pub const ALARMS_MAX: usize = 8;
/// Longest text of a profile, bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Longest interval between readings: a week, in milliseconds.
pub const INTERVAL_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// Greatest sample rate, Hz.
pub const SAMPLE_RATE_HZ_MAX: f64 = 100_000.0;
/// Longest onset delay, seconds.
pub const ONSET_DELAY_S_MAX: u64 = 3600;
/// Greatest clock error that a profile may allow, seconds.
pub const SKEW_S_MAX: f64 = 3600.0;
/// Least and greatest keep-alive, seconds; a front grants no more.
pub const KEEP_ALIVE_S: (u64, u64) = (5, 1200);
/// Longest time back to a session, seconds.
pub const RECONNECT_S_MAX: u64 = 3600;
/// Longest time that a device may promise to keep readings: a month, in hours.
pub const OFFLINE_HOURS_MAX: u64 = 24 * 31;
/// What hospitals ask of a device that loses its gateway, hours: below it a profile is warned.
pub const OFFLINE_HOURS_ADVISED: u64 = 72;
/// Device times that a tally keeps per measurement; later ones are counted, and their intervals are not.
pub const TIMES_MAX: usize = 1_000_000;
/// Codes outside the profile that a tally keeps apart; more are counted together.
pub const UNDECLARED_MAX: usize = 256;
/// Share by which a waveform's sample interval may differ from the declared rate.
pub const SAMPLE_RATE_TOLERANCE: f64 = 0.001;

const _: () = assert!(KEEP_ALIVE_S.0 < KEEP_ALIVE_S.1 && OFFLINE_HOURS_ADVISED < OFFLINE_HOURS_MAX);
const _: () = assert!(SAMPLES_MAX as f64 <= SAMPLE_RATE_HZ_MAX * 3600.0);
