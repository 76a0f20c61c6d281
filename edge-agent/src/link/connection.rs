//! One connection of the device: messages in, acknowledgements out.
//!
//! Hello and time are not acknowledged; a hello carries the position up to which the device knows acknowledged. A
//! full spool stops the reading, not the acknowledging: the device's own buffer is the next to fill, and it decides
//! what it gives up.

use super::addr::Stream;
use super::order::{Order, Verdict};
use crate::clock::{ClockOptions, ClockState, now_us};
use crate::spool::record::LinkPosition;
use crate::spool::{DurableMark, LaneWatches, Mark, Part, Patience, PutError, Spool, SpoolError};
use crate::stats::Counters;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wardline_proto::link::{self, Decoder};
use wardline_proto::v1::{Body, LinkDown, LinkUp, link_up::Kind};

/// Messages taken and not yet durable; more of them stop the reading.
const PENDING_MAX: usize = 1024;
const READ_BYTES: usize = 16 * 1024;
/// How often a full spool is tried again when nothing becomes durable.
const RETRY_EVERY: Duration = Duration::from_millis(50);
/// How long a full log is waited for before a waveform or numeric is dropped, so that alarms behind it get through.
const PATIENCE: Duration = Duration::from_secs(2);
/// A device that takes no acknowledgement for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stop waits for what was taken to become durable.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("closed by the device")]
    Closed,
    #[error("transport: {0}")]
    Io(#[from] io::Error),
    #[error("a message is missing and does not come")]
    Gap,
    #[error("the first message was not a hello")]
    NoHello,
    #[error("the device takes no acknowledgements")]
    WriteTimeout,
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// A message that found no room.
struct Stalled {
    seq: u64,
    parts: Vec<Part>,
    since: Instant,
}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    watches: LaneWatches,
    clock: ClockState,
    decoder: Decoder,
    buffer: Vec<u8>,
    boot_id: Option<u64>,
    order: Order,
    pending: VecDeque<(u64, Mark)>,
    stalled: Option<Stalled>,
    acked: Option<(u64, DurableMark)>,
    ack_due: bool,
}

impl Connection {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
        clock: ClockOptions,
    ) -> Self {
        Self {
            stream,
            watches: LaneWatches::of(&spool),
            spool,
            counters,
            clock: ClockState::new(clock),
            decoder: Decoder::default(),
            buffer: vec![0; READ_BYTES],
            boot_id: None,
            order: Order::default(),
            pending: VecDeque::new(),
            stalled: None,
            acked: None,
            ack_due: false,
        }
    }

    /// Serves until the connection ends. Cancel safe between messages: what was not acknowledged comes again.
    pub(super) async fn run(&mut self) -> LinkEnd {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), LinkEnd> {
        self.take_messages()?;
        self.acknowledge().await?;
        let stalled = self.stalled.is_some();
        let may_read = !stalled && self.pending.len() < PENDING_MAX;
        tokio::select! {
            changed = self.watches.changed() => changed?,
            read = self.stream.read(&mut self.buffer), if may_read => match read? {
                0 => return Err(LinkEnd::Closed),
                n => self.decoder.push(&self.buffer[..n]),
            },
            () = tokio::time::sleep(RETRY_EVERY), if stalled => {}
        }
        Ok(())
    }

    /// Takes what the decoder holds, as far as there is room.
    fn take_messages(&mut self) -> Result<(), LinkEnd> {
        if let Some(stalled) = self.stalled.take() {
            self.put(stalled)?;
        }
        while self.stalled.is_none() && self.pending.len() < PENDING_MAX {
            match self.decoder.next_message::<LinkUp>() {
                None => break,
                Some(Err(_)) => self.counters.link_damaged.add(1),
                Some(Ok(message)) => self.take(message)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, message: LinkUp) -> Result<(), LinkEnd> {
        match message.kind {
            Some(Kind::Hello(hello)) => {
                self.boot_id = Some(hello.boot_id);
                self.order.begin(message.seq);
                Ok(())
            }
            Some(Kind::Time(time)) => {
                self.clock.coincide(now_us(), time.now_us);
                Ok(())
            }
            Some(Kind::Body(body)) if message.seq > 0 => self.take_body(message.seq, body),
            // A kind of a later version, or a body without a number: never acknowledged, never taken.
            Some(Kind::Body(_)) | None => {
                self.counters.link_damaged.add(1);
                Ok(())
            }
        }
    }

    fn take_body(&mut self, seq: u64, body: Body) -> Result<(), LinkEnd> {
        if self.boot_id.is_none() {
            return Err(LinkEnd::NoHello);
        }
        match self.order.judge(seq, Instant::now()) {
            Verdict::Take => self.put(Stalled { seq, parts: Part::split(body), since: Instant::now() }),
            Verdict::Again => {
                self.ack_due = true;
                Ok(())
            }
            Verdict::Skip => Ok(()),
            Verdict::GiveUp => Err(LinkEnd::Gap),
        }
    }

    fn put(&mut self, message: Stalled) -> Result<(), LinkEnd> {
        let origin = LinkPosition { boot_id: self.boot_id.unwrap_or_default(), seq: message.seq };
        let patience = if message.since.elapsed() < PATIENCE { Patience::Wait } else { Patience::Drop };
        match self.spool.put(origin, now_us(), &self.clock.of_device(), &message.parts, patience) {
            Ok(mark) => {
                self.order.taken(message.seq);
                self.pending.push_back((message.seq, mark));
                Ok(())
            }
            Err(PutError::Full) => {
                self.stalled = Some(message);
                Ok(())
            }
            Err(PutError::Failed) => Err(SpoolError::Failed.into()),
        }
    }

    /// Moves the acknowledged position over what is durable now, and tells the device when it moved.
    async fn acknowledge(&mut self) -> Result<(), LinkEnd> {
        while let Some((seq, mark)) = self.pending.front() {
            let Some(proof) = self.spool.prove(mark) else { break };
            self.acked = Some((*seq, proof));
            self.ack_due = true;
            self.pending.pop_front();
        }
        let Some((seq, proof)) = self.acked.as_ref().filter(|_| self.ack_due) else { return Ok(()) };
        let bytes = acknowledgement(*seq, proof)?;
        let written = timeout(WRITE_TIMEOUT, self.stream.write_all(&bytes)).await;
        written.map_err(|_| LinkEnd::WriteTimeout)??;
        self.ack_due = false;
        self.counters.link_acked_seq.set(*seq);
        Ok(())
    }

    /// Acknowledges what was taken, before the agent stops.
    pub(super) async fn acknowledge_rest(&mut self) {
        let rest = async {
            while !self.pending.is_empty() {
                let moved = self.watches.changed().await;
                if moved.is_err() || self.acknowledge().await.is_err() {
                    return;
                }
            }
        };
        // What is not acknowledged in time comes again after the restart, and is recognised.
        let _in_time = timeout(REST_TIMEOUT, rest).await;
    }
}

/// Encodes the acknowledgement of everything up to `seq`, which takes the proof that it is durable.
fn acknowledgement(seq: u64, _proof: &DurableMark) -> Result<Vec<u8>, LinkEnd> {
    let mut bytes = Vec::with_capacity(16);
    link::encode(&LinkDown { acked_seq: seq }, &mut bytes)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(bytes)
}
