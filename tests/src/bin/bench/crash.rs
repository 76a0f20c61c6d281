//! What an acknowledgement is worth: publish, kill -9 at the last acknowledgement, restart, count what is left.
//!
//! At a broker a subscriber with a kept session, offline while the publishes come, fetches them after the restart.
//! At the gateway the archive is asked what it holds.

use crate::lab::{EVERY_TOPIC, Lab, Place};
use crate::options::Crash;
use crate::payload::{Template, epoch_now};
use crate::server::{Keeping, Kind, Server, wardline_data};
use crate::table::Table;
use anyhow::Context;
use std::collections::HashSet;
use std::time::{Duration, Instant};
use wardline_archive::read::ArchiveReader;
use wardline_tests::mqtt_client::{Connection, Session, load};

/// Connections that publish; one more client subscribes.
pub(crate) const CONNECTIONS: usize = 10;
const WINDOW: u16 = 16;
const PAYLOAD_BYTES: usize = 200;
const SUBSCRIBER: &str = "kept-subscriber";
/// A broker that saves every second has saved the subscription by then.
const SUBSCRIPTION_SETTLE: Duration = Duration::from_millis(2500);
/// A broker that sends nothing for this long has nothing left.
const QUIET: Duration = Duration::from_secs(3);
/// The archive flushes within seconds; a loaded machine is slower.
const ARCHIVE_WAIT: Duration = Duration::from_secs(60);
const ARCHIVE_POLL: Duration = Duration::from_millis(200);

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// SIGKILL.
    Crash,
    /// SIGTERM: shows that the counting finds what a server did keep.
    Stop,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Crash => "kill -9",
            Self::Stop => "SIGTERM",
        }
    }
}

/// What is done to a server, with its name in the table.
type Case = (Keeping, &'static str, Ending);

const WARDLINE: &[Case] = &[(Keeping::Default, "journal, then archive", Ending::Crash)];
const MOSQUITTO: &[Case] = &[
    (Keeping::Default, "persistence true", Ending::Stop),
    (Keeping::Default, "persistence true", Ending::Crash),
    (Keeping::AutosaveSecond, "persistence true, autosave_interval 1", Ending::Crash),
    (Keeping::AutosaveChanges, "persistence true, autosave_on_changes, 1000", Ending::Crash),
];
const RUMQTTD: &[Case] = &[(Keeping::Default, "memory", Ending::Crash)];

/// Crashes every server and prints what each lost.
pub(crate) async fn run(lab: &Lab, options: &Crash) -> anyhow::Result<()> {
    let mut table = Table::new(3, &["server", "keeps", "ended by", "acked", "still there", "lost"]);
    for kind in lab.setup.servers.iter().copied() {
        let cases = match kind {
            Kind::Wardline => WARDLINE,
            Kind::Mosquitto => MOSQUITTO,
            Kind::Rumqttd => RUMQTTD,
            Kind::Rustls => &[],
        };
        for (keeping, what, ending) in cases.iter().copied() {
            let (acked, kept) = crash(lab, kind, keeping, ending, options.crash_messages).await?;
            eprintln!("crash: {kind}, {what}, {}: {kept} of {acked}", ending.name());
            table.row(vec![
                kind.to_string(),
                what.to_owned(),
                ending.name().to_owned(),
                acked.to_string(),
                kept.to_string(),
                acked.saturating_sub(kept).to_string(),
            ]);
        }
    }
    println!("{}", table.render());
    Ok(())
}

async fn crash(
    lab: &Lab,
    kind: Kind,
    keeping: Keeping,
    ending: Ending,
    messages: usize,
) -> anyhow::Result<(u64, u64)> {
    let place = lab.place(kind)?;
    let server = Server::start(lab, kind, &place, keeping).await?;
    if kind != Kind::Wardline {
        subscriber(lab, &server).await?.disconnect().await?;
        tokio::time::sleep(SUBSCRIPTION_SETTLE).await;
    }
    let epoch = epoch_now();
    let acked = publish(lab, &server, messages, epoch).await?;
    match ending {
        Ending::Crash => server.kill()?,
        Ending::Stop => server.stop()?,
    }
    let server = Server::start(lab, kind, &place, keeping).await?;
    let kept = match kind {
        Kind::Wardline => archived(&place, acked, epoch).await?,
        _ => {
            let payloads = subscriber(lab, &server).await?.receive(QUIET).await?;
            payloads.into_iter().collect::<HashSet<_>>().len() as u64
        }
    };
    Ok((acked, kept))
}

/// Opens the kept session of the subscriber; a server that forgot it is asked again.
async fn subscriber(lab: &Lab, server: &Server) -> anyhow::Result<Connection> {
    let client = lab.clients.get(CONNECTIONS).context("no client is left to subscribe")?;
    let mut connection = Connection::connect(server.address, &client.tls, SUBSCRIBER, Session::Kept).await?;
    if !connection.session_present() {
        connection.subscribe(EVERY_TOPIC).await?;
    }
    Ok(connection)
}

/// Publishes from each connection in a stream of its own; returns what was acknowledged.
async fn publish(lab: &Lab, server: &Server, messages: usize, epoch: u64) -> anyhow::Result<u64> {
    let mut templates = Vec::new();
    for index in 0..CONNECTIONS {
        templates.push(Template::new(PAYLOAD_BYTES, epoch + index as u64)?);
    }
    let source = |index: usize| {
        let mut template = templates[index].clone();
        move |payload: &mut Vec<u8>| template.next(payload)
    };
    let publishers = load::publishers(server.address, &lab.clients[..CONNECTIONS], source).await?;
    let (report, _publishers) =
        load::run(publishers, messages / CONNECTIONS, load::Pace::Window(WINDOW)).await?;
    Ok(report.acked)
}

/// Waits for the archive to hold what was acknowledged; returns the distinct frames of this run that it holds.
async fn archived(place: &Place, acked: u64, epoch: u64) -> anyhow::Result<u64> {
    let streams = epoch..epoch + CONNECTIONS as u64;
    let until = Instant::now() + ARCHIVE_WAIT;
    loop {
        let reader = ArchiveReader::open(&wardline_data(place)).await?;
        let reports = reader.streams(None).await?;
        let ours = reports.iter().filter(|report| streams.contains(&report.id.epoch));
        let kept = ours.map(|report| report.counts.archived).sum();
        if kept >= acked || Instant::now() > until {
            return Ok(kept);
        }
        tokio::time::sleep(ARCHIVE_POLL).await;
    }
}
