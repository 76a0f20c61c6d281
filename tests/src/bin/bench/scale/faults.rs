//! A month of failures: nodes die and come back at random moments, seeded, and what that does to devices and alarms is
//! added up.
//!
//! Between two events every rate is constant, so each quantity is a sum over intervals. A frame that a front had
//! acknowledged is never lost in the model, as it is not in the product: it waits on the front's disk until the front
//! is back, and that wait is what is counted.

use super::figures::Figures;
use super::plan::Plan;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const HOUR: f64 = 3600.0;
/// How often a node fails, and how long it is away: mostly a process or a reboot, at times a machine.
const FAILS_EVERY_H: f64 = 30.0 * 24.0;
const BACK_SOON_S: f64 = 90.0;
const BACK_LATE_S: f64 = 2.0 * HOUR;
const LATE_SHARE: f64 = 0.1;
/// The database and the bus, as services with a standby of their own.
const SERVICE_FAILS_EVERY_H: f64 = 10.0 * 24.0;
const SERVICE_BACK_S: f64 = 300.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    FrontFails,
    FrontBack,
    WorkerFails,
    WorkerBack,
    ServiceFails,
    ServiceBack,
}

/// What a month did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Month {
    /// Nodes and services that failed.
    pub(crate) failures: usize,
    /// Sessions that had to be opened again.
    pub(crate) sessions_lost: f64,
    /// Seconds, of one device on average, in which its alarms waited for a worker, the bus or the database.
    pub(crate) alarms_waited_s: f64,
    /// Seconds, of one device on average, in which what it had sent last waited on the disk of a dead front.
    pub(crate) on_a_dead_disk_s: f64,
    /// Greatest part of a front's log that was in use.
    pub(crate) log_used_max: f64,
    /// Greatest part of the living nodes' cores that the steady load took.
    pub(crate) cores_used_max: f64,
}

struct State {
    fronts: usize,
    workers: usize,
    services_away: usize,
    /// Frames that fronts keep because nobody archives.
    behind: f64,
}

/// What is to happen, soonest first.
struct Moments {
    events: BinaryHeap<Reverse<(u64, Event)>>,
    random: SmallRng,
}

impl Moments {
    /// Lets an event happen after so many seconds on average.
    fn after(&mut self, now: f64, event: Event, mean: f64) {
        let wait = -mean * self.random.random_range(f64::MIN_POSITIVE..1.0_f64).ln();
        self.events.push(Reverse(((1000.0 * (now + wait)) as u64, event)));
    }

    fn next(&mut self) -> Option<(f64, Event)> {
        self.events.pop().map(|Reverse((moment, event))| (moment as f64 / 1000.0, event))
    }

    /// Draws how long a node is away on average.
    fn away(&mut self) -> f64 {
        if self.random.random_bool(LATE_SHARE) { BACK_LATE_S } else { BACK_SOON_S }
    }
}

/// Runs `days`.
pub(crate) fn simulate(figures: &Figures, plan: &Plan, days: f64, seed: u64) -> Month {
    let mut moments = Moments { events: BinaryHeap::new(), random: SmallRng::seed_from_u64(seed) };
    for _ in 0..plan.fronts {
        moments.after(0.0, Event::FrontFails, FAILS_EVERY_H * HOUR);
    }
    for _ in 0..plan.workers {
        moments.after(0.0, Event::WorkerFails, FAILS_EVERY_H * HOUR);
    }
    moments.after(0.0, Event::ServiceFails, SERVICE_FAILS_EVERY_H * HOUR);
    let mut state = State { fronts: plan.fronts, workers: plan.workers, services_away: 0, behind: 0.0 };
    let (mut month, mut now) = (Month::default(), 0.0);
    while let Some((moment, event)) = moments.next().filter(|(moment, _)| *moment <= days * 24.0 * HOUR) {
        state.pass(figures, plan, moment - now, &mut month);
        now = moment;
        state.take(figures, plan, (now, event), &mut moments, &mut month);
    }
    month
}

impl State {
    /// Does what happens, and draws what comes of it. The last node of its kind does not fail.
    fn take(
        &mut self,
        figures: &Figures,
        plan: &Plan,
        (now, event): (f64, Event),
        moments: &mut Moments,
        month: &mut Month,
    ) {
        let away = moments.away();
        let fails = matches!(event, Event::FrontFails | Event::WorkerFails | Event::ServiceFails);
        match event {
            Event::FrontFails if self.fronts > 1 => {
                month.sessions_lost += plan.devices as f64 / self.fronts as f64;
                // Of its share of the devices, what they had sent last waits until it is back.
                month.on_a_dead_disk_s += away / plan.fronts as f64;
                self.fronts -= 1;
                moments.after(now, Event::FrontBack, away);
            }
            Event::WorkerFails if self.workers > 1 => {
                month.alarms_waited_s += figures.takeover_s / plan.workers as f64;
                self.workers -= 1;
                moments.after(now, Event::WorkerBack, away);
            }
            Event::FrontFails | Event::WorkerFails => {
                moments.after(now, event, FAILS_EVERY_H * HOUR);
                return;
            }
            Event::FrontBack => {
                self.fronts += 1;
                moments.after(now, Event::FrontFails, FAILS_EVERY_H * HOUR);
            }
            Event::WorkerBack => {
                self.workers += 1;
                moments.after(now, Event::WorkerFails, FAILS_EVERY_H * HOUR);
            }
            Event::ServiceFails => {
                self.services_away += 1;
                moments.after(now, Event::ServiceBack, SERVICE_BACK_S);
            }
            Event::ServiceBack => {
                self.services_away -= 1;
                moments.after(now, Event::ServiceFails, SERVICE_FAILS_EVERY_H * HOUR);
            }
        }
        month.failures += usize::from(fails);
    }

    /// Lets time pass at the rates of now.
    fn pass(&mut self, figures: &Figures, plan: &Plan, seconds: f64, month: &mut Month) {
        let frames = plan.frames(figures);
        let each = frames / self.fronts as f64;
        let fronts = each * figures.front_us(each) / (figures.cores * 1e6);
        let capacity = self.workers as f64 * figures.cores * 1e6 / figures.worker_us();
        month.cores_used_max = month.cores_used_max.max(fronts).max(frames / capacity);
        let drained = if self.services_away > 0 { 0.0 } else { capacity };
        let behind = self.behind + (frames - drained) * seconds;
        if self.services_away > 0 {
            month.alarms_waited_s += seconds;
        } else if self.behind > 0.0 {
            month.alarms_waited_s += seconds.min(self.behind / (capacity - frames).max(1.0));
        }
        self.behind = behind.max(0.0);
        let log = self.behind * figures.frame_bytes / self.fronts as f64;
        month.log_used_max = month.log_used_max.max(log / (figures.log_gib * 1024.0 * 1024.0 * 1024.0));
    }
}
