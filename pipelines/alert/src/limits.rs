//! Every bound of the alarm engine, in one place (LIM-1). What reaching one does stands beside it.

/// Most devices that are watched. One more is not watched, and a technical alert says so.
pub const DEVICES_MAX: usize = 50_000;
/// Most streams (epoch, lane) remembered per device for duplicates; the least recent one goes.
pub const STREAMS_MAX: usize = 16;
/// Words of 64 positions in a stream's window of seen frames. What lies below the window counts as seen.
pub const WINDOW_WORDS: usize = 8;
/// Most device-raised conditions per device; ended ones go first, then one of a lower priority than the new one's. When
/// there is none, the new one is not raised, and a technical alert says so.
pub const CONDITIONS_MAX: usize = 64;
/// Most rules in a rules file.
pub const RULES_MAX: usize = 256;
/// Largest rules file, bytes.
pub const RULES_BYTES_MAX: usize = 256 * 1024;
/// Longest delay, gap or grace in a rule, seconds.
pub const RULE_SECONDS_MAX: u32 = 24 * 3600;
/// A silent device is forgotten after this long when room is needed, microseconds.
pub const IDLE_US: i64 = 24 * 3600 * 1_000_000;
/// Journal bytes that the worker takes in one step.
pub const STEP_BYTES_MAX: usize = 1024 * 1024;
/// Records between two checkpoints at most.
pub const CHECKPOINT_RECORDS_MAX: usize = 20_000;
/// Most events that one read of the feed returns.
pub const FEED_PAGE_MAX: u32 = 1000;

const _: () = assert!(WINDOW_WORDS > 0 && STREAMS_MAX > 4);
const _: () = assert!(CONDITIONS_MAX * DEVICES_MAX < u32::MAX as usize);
/// Most tenants that a system alert reaches.
pub const TENANTS_MAX: usize = 1024;
/// A backfilled device alarm without an end becomes an alert after this long, microseconds of ingest time.
pub const HOLD_US: i64 = 15_000_000;
/// A device that said nothing for this long may have been off: an alarm that it starts anew then is a new one,
/// microseconds of ingest time.
pub const RESTART_GAP_US: i64 = 60_000_000;
/// An alarm that is on and is started again after this long alarms again; sooner it is a sign of life, microseconds.
pub const REPEAT_US: i64 = 10_000_000;
/// What a cause explains is told when the device has said nothing for this long: it cannot say that the cause is over.
pub const CAUSE_HEARD_US: i64 = 60_000_000;
/// What is noticed now and then about a device is told of until it has been quiet for this long, microseconds.
pub const QUIET_US: i64 = 600_000_000;
/// Journal time may lead the wall clock so far before it is told of, microseconds.
pub const CLOCK_LEAD_MAX_US: i64 = 5_000_000;
/// And is told of until it leads by no more than this, microseconds.
pub const CLOCK_LEAD_OVER_US: i64 = 1_000_000;
/// Between two looks for idle devices when there is no room, microseconds.
pub const EVICTION_INTERVAL_US: i64 = 60_000_000;

const _: () = assert!(HOLD_US < IDLE_US && REPEAT_US < RESTART_GAP_US);
/// An alert that nobody acknowledges escalates this often at most.
pub const ESCALATIONS_MAX: u32 = 20;
/// Shortest time to an escalation, seconds.
pub const ESCALATION_SECONDS_MIN: u32 = 1;
/// Longest pause of a signal, seconds.
pub const PAUSE_SECONDS_MAX: u32 = 3600;
/// Alerts on which time acts in one turn; the rest have the next.
pub const DUE_PER_TURN_MAX: u32 = 256;
/// Alerts that one filtered list looks through at most.
pub const LIST_SCAN_MAX: u32 = 20_000;
/// Shortest and longest lease of a listener, seconds.
pub const LEASE_SECONDS_MIN: u32 = 2;
/// See [`LEASE_SECONDS_MIN`].
pub const LEASE_SECONDS_MAX: u32 = 300;
/// Longest time that a listener may leave an event unconfirmed, seconds.
pub const BEHIND_SECONDS_MAX: u32 = 600;
/// That time when the listener does not say, seconds.
pub const BEHIND_SECONDS: u32 = 30;
/// Devices, kinds or states in a filter.
pub const FILTER_NAMES_MAX: usize = 64;
/// Wards in a filter: as many as a person may have.
pub const FILTER_SITES_MAX: usize = wardline_store::registry::SITES_MAX;
/// Alerts that are over are kept for this long after their last event, microseconds: 90 days.
pub const ALERTS_KEEP_US: i64 = 90 * 24 * 3600 * 1_000_000;
/// Batches of alerts that one cleaning forgets at most; the rest waits for the next.
pub const FORGET_BATCHES_MAX: u32 = 200;
/// Deliveries that were accepted, or that nobody has to accept, are kept for this long, microseconds: 30 days.
pub const DELIVERIES_KEEP_US: i64 = 30 * 24 * 3600 * 1_000_000;

const _: () = assert!(BEHIND_SECONDS <= BEHIND_SECONDS_MAX && LEASE_SECONDS_MIN < LEASE_SECONDS_MAX);
/// Slots of a window in which a rate of change is looked for.
pub const RATE_SLOTS: i64 = 32;
/// Overrides that were over before this are not looked at any more, microseconds: 30 days.
pub const ORDERS_KEEP_US: i64 = 30 * 24 * 3600 * 1_000_000;
/// Most conditions in a composite or a suppression.
pub const MEMBERS_MAX: usize = 16;
/// Events that subscribers are given at a time.
pub const SHARED_PAGE: u32 = 64;
/// Opened events that the subscribers of one tenant share; who is behind them reads the log by itself.
pub const RING_EVENTS_MAX: usize = 4096;
/// Their size at most, encoded bytes.
pub const RING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// And what every tenant's may have, however many tenants listen.
pub const RING_BYTES_MIN: usize = 64 * 1024;
/// All rings of a node together, encoded bytes; it is divided evenly.
pub const RINGS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Subscribers behind the ring that read the log at one time; the others wait.
pub const BEHIND_READS_MAX: usize = 3;

const _: () = assert!(SHARED_PAGE <= FEED_PAGE_MAX && RING_EVENTS_MAX > SHARED_PAGE as usize);
const _: () = assert!(RING_BYTES_MIN * TENANTS_MAX <= RINGS_BYTES_MAX);
/// Waveforms that belong to an alert: this much on each side of its onset, microseconds.
pub const STRIP_US: i64 = 10_000_000;
/// What was to come of them has come so long after their window, microseconds of journal time; then they are looked at.
pub const STRIP_SETTLE_US: i64 = 5_000_000;
/// For how long it is remembered which waveforms came, microseconds.
pub const STRIP_KEEP_US: i64 = 180_000_000;
/// Waveforms of a device that are remembered; the one that came last longest ago goes.
pub const STRIP_STREAMS_MAX: usize = 16;
/// Spans of a waveform that are remembered; the oldest goes, and counts as missing.
pub const STRIP_SPANS_MAX: usize = 32;
/// Alerts of a device whose waveforms are still to be looked at; for one more, the oldest one's are looked at at once.
pub const STRIPS_MAX: usize = 16;

const _: () = assert!(STRIP_KEEP_US > 3 * STRIP_US + STRIP_SETTLE_US);
