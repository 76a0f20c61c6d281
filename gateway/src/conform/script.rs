//! The run: what is done to the device, in order, and how long each step may take.

use super::check::{Judged, judge};
use super::limits::{CUTS, DELAY, PATIENCE, TICK};
use super::proxy::Mode;
use super::seen::{Seen, Span, Step};
use super::stage::Stage;
use super::tail::Tail;
use crate::front::now_us;
use std::time::{Duration, Instant};
use wardline_profile::{Profile, Tally};

/// Shares of the run's duration that the steps take. What is left over is waiting for the device to come back.
const MEASURE: f64 = 0.4;
const SLOW: f64 = 0.1;
const LOST_ACK: f64 = 0.1;
const OUTAGE: f64 = 0.25;
/// Pause between two cuts: a device that has just come back is cut again only when it has settled.
const BETWEEN_CUTS: Duration = Duration::from_millis(600);
/// Frames of the last moments may still be on their way to the journal.
const SETTLE: Duration = Duration::from_millis(300);
/// Without any declared interval, how long a backlog may take.
const UNPACED: Duration = Duration::from_secs(10);

/// Says what happens, a line at a time.
pub(super) type Say<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A run under way.
pub(super) struct Script<'a> {
    stage: &'a Stage,
    tail: Tail,
    seen: Seen,
    duration: Duration,
    say: Say<'a>,
}

impl<'a> Script<'a> {
    pub(super) fn new(
        stage: &'a Stage,
        profile: Profile,
        duration: Duration,
        say: Say<'a>,
    ) -> anyhow::Result<Self> {
        let tail = Tail::new(stage.node().journal(), stage.actor())?;
        let seen = Seen::new(profile, stage.serial().to_owned(), stage.continues());
        Ok(Self { stage, tail, seen, duration, say })
    }

    /// Runs every step that disturbs the device. It ends early when no session ever opens.
    pub(super) async fn run(&mut self, wait: Duration) -> anyhow::Result<()> {
        let begun = self.begin(Step::Connect, "waiting for the device");
        let came = self.until(wait, |seen| !seen.sessions.is_empty()).await?;
        if came && self.seen.continues {
            self.catch_up().await?;
        }
        self.end(Step::Connect, begun);
        if !came {
            return Ok(());
        }
        let begun = self.begin(Step::Measure, "measuring, nothing is disturbed");
        self.rest(self.duration.mul_f64(MEASURE)).await?;
        self.end(Step::Measure, begun);
        self.cuts().await?;

        let begun = self.begin(Step::Slow, "every byte is late");
        self.stage.proxy().set(Mode::Delay(DELAY));
        self.rest(self.duration.mul_f64(SLOW)).await?;
        self.stage.proxy().set(Mode::Pass);
        self.end(Step::Slow, begun);
        self.lost_ack().await?;

        let begun = self.begin(Step::Outage, "the gateway cannot be reached");
        self.stage.proxy().set(Mode::Refuse);
        self.cut(Step::Outage);
        self.rest(self.duration.mul_f64(OUTAGE)).await?;
        self.end(Step::Outage, begun);
        self.recover().await
    }

    /// Reads the archive, judges everything and returns it.
    pub(super) async fn finish(mut self) -> anyhow::Result<(Seen, Vec<Judged>)> {
        let begun = self.begin(Step::Finish, "looking at the archive");
        self.rest(SETTLE).await?;
        self.seen.archived = Some(self.stage.archived().await?);
        self.look()?;
        self.end(Step::Finish, begun);
        let judged = judge(&self.seen, None);
        Ok((self.seen, judged))
    }

    /// Waits until frames come as they are made. What a device kept from before the run counts as arrived, and says
    /// nothing of cadence or clock.
    async fn catch_up(&mut self) -> anyhow::Result<()> {
        self.until(self.pace() * 2 + PATIENCE, Seen::is_paced).await?;
        self.seen.tally = Tally::new(self.seen.profile().clone());
        Ok(())
    }

    async fn cuts(&mut self) -> anyhow::Result<()> {
        let begun = self.begin(Step::Cut, "cutting the connection");
        for _ in 0..CUTS {
            let at = self.cut(Step::Cut);
            self.until_back(at).await?;
            self.rest(BETWEEN_CUTS).await?;
        }
        self.end(Step::Cut, begun);
        Ok(())
    }

    /// Swallows answers from the moment that is noted on: what arrives after it is never acknowledged.
    async fn lost_ack(&mut self) -> anyhow::Result<()> {
        self.stage.proxy().set(Mode::SwallowAnswers);
        let begun = self.begin(Step::LostAck, "swallowing acknowledgements");
        let wait = self.pace() + PATIENCE;
        self.until(wait, |seen| seen.frames.iter().any(|frame| frame.at_us > begun)).await?;
        self.rest(self.duration.mul_f64(LOST_ACK)).await?;
        let at = self.cut(Step::LostAck);
        self.stage.proxy().set(Mode::Pass);
        self.until_back(at).await?;
        let owed = self.seen.frames.iter().filter(|f| f.first && (begun..at).contains(&f.at_us));
        let owed: Vec<_> = owed.map(|frame| frame.position).collect();
        let wait = self.pace() + PATIENCE;
        self.until(wait, |seen| {
            let again = |position| seen.frames.iter().any(|f| f.at_us > at && f.position == position);
            owed.iter().all(|position| again(*position))
        })
        .await?;
        self.end(Step::LostAck, begun);
        Ok(())
    }

    /// Waits until the device is back and what it measures now has arrived, all before it too.
    async fn recover(&mut self) -> anyhow::Result<()> {
        let begun = self.begin(Step::Recover, "the gateway is back, waiting for the backlog");
        self.stage.proxy().set(Mode::Pass);
        self.until_back(begun).await?;
        let pace = self.pace();
        let wait = self.duration.mul_f64(OUTAGE) + pace + PATIENCE;
        let pace_us = i64::try_from(pace.as_micros()).unwrap_or(i64::MAX);
        let lag_us = self.seen.device_lag_us().unwrap_or(0);
        self.until(wait, |seen| {
            let newest = seen.frames.iter().filter_map(|frame| frame.device_us).max();
            newest.is_some_and(|us| us + lag_us >= now_us() - pace_us)
        })
        .await?;
        // What was newest may have overtaken what is older.
        self.rest(pace.min(UNPACED) + SETTLE).await?;
        self.end(Step::Recover, begun);
        Ok(())
    }

    /// Returns how long a device may be silent and still keep its fastest promise.
    fn pace(&self) -> Duration {
        let fastest = self.seen.fastest_us().and_then(|us| u64::try_from(us).ok());
        fastest.map_or(UNPACED, Duration::from_micros)
    }

    fn cut(&mut self, step: Step) -> i64 {
        let at = now_us();
        self.seen.cuts.push((at, step));
        self.stage.proxy().cut();
        at
    }

    async fn until_back(&mut self, at_us: i64) -> anyhow::Result<bool> {
        let bound = Duration::from_secs(u64::from(self.seen.profile().connection.reconnect_max_s));
        self.until(bound + PATIENCE, |seen| seen.session_after(at_us).is_some()).await
    }

    async fn until(&mut self, wait: Duration, done: impl Fn(&Seen) -> bool) -> anyhow::Result<bool> {
        let due = Instant::now() + wait;
        loop {
            self.look()?;
            if done(&self.seen) {
                return Ok(true);
            }
            if Instant::now() >= due {
                return Ok(false);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn rest(&mut self, time: Duration) -> anyhow::Result<()> {
        self.until(time, |_| false).await.map(drop)
    }

    fn look(&mut self) -> anyhow::Result<()> {
        self.tail.step(&mut self.seen)?;
        self.seen.lines = self.stage.proxy().lines();
        Ok(())
    }

    fn begin(&mut self, step: Step, what: &str) -> i64 {
        (self.say)(&format!("-- {}: {what}", step.name()));
        now_us()
    }

    /// Ends a step and tells the checks that are due after it.
    fn end(&mut self, step: Step, from_us: i64) {
        self.seen.spans.push(Span { step, from_us, until_us: now_us() });
        for judged in judge(&self.seen, Some(step)) {
            (self.say)(&super::report::line(&judged));
        }
    }
}
