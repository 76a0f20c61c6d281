//! `wardline alerts watch --board`: the alerts that are on, as a board on the terminal, with a key to acknowledge.
//!
//! The board says itself how old what it shows is: without a heartbeat it is red, and says since when.

mod state;
mod view;

use super::{Watch, said};
use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use state::{Board, Link};
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::subscribe_response::Kind;
use wardline_proto::v1::{
    AcknowledgeRequest, Alert, ListAlertsRequest, PauseRequest, Priority, SubscribeRequest,
};

/// Alerts of each priority that the board starts with at most.
const LISTED_MAX: u32 = 1000;
/// Three heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_secs(1);
const PAUSE_SECONDS: u32 = 120;
const QUEUE: usize = 256;

/// What happens to the board.
enum Happened {
    Key(KeyEvent),
    Heard(Box<Kind>),
    Listed(Vec<Alert>, bool),
    Link(Link),
    Told(String),
}

/// Shows the board until `q` is pressed.
pub(super) async fn run(watch: &Watch) -> anyhow::Result<ExitCode> {
    let (happened, mut next) = mpsc::channel(QUEUE);
    let endpoint = watch.server.endpoint()?;
    let mut client = AlertServiceClient::new(endpoint.connect_lazy());
    let following = tokio::spawn(follow(endpoint, watch.wanted(), happened.clone()));
    let keys = happened.clone();
    // Ends with the process, or with the first key after the board is gone.
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if let Event::Key(key) = event
                && keys.blocking_send(Happened::Key(key)).is_err()
            {
                return;
            }
        }
    });
    let mut terminal = ratatui::try_init().context("the board needs a terminal")?;
    let mut board = Board::default();
    let mut redraw = tokio::time::interval(REDRAW);
    let shown = loop {
        if let Err(error) = terminal.draw(|frame| view::draw(&board, crate::front::now_us(), frame)) {
            break Err(error.into());
        }
        let one = tokio::select! {
            _at = redraw.tick() => continue,
            one = next.recv() => one,
        };
        match one {
            Some(Happened::Key(key)) if is_quit(key) => break Ok(ExitCode::SUCCESS),
            Some(Happened::Key(key)) => pressed(key, &mut board, &mut client, &happened),
            Some(Happened::Heard(kind)) => board.hear(*kind),
            Some(Happened::Listed(alerts, more)) => board.list(alerts, more),
            Some(Happened::Link(link)) => board.link = link,
            Some(Happened::Told(text)) => board.told = text,
            None => break Ok(ExitCode::SUCCESS),
        }
    };
    ratatui::restore();
    following.abort();
    shown
}

fn is_quit(key: KeyEvent) -> bool {
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

fn pressed(
    key: KeyEvent,
    board: &mut Board,
    client: &mut AlertServiceClient<Channel>,
    happened: &mpsc::Sender<Happened>,
) {
    if key.kind != KeyEventKind::Press {
        return;
    }
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => board.select(-1),
        KeyCode::Down | KeyCode::Char('j') => board.select(1),
        KeyCode::Char('a') => act(board, client, happened, true),
        KeyCode::Char('p') => act(board, client, happened, false),
        _ => {}
    }
}

/// Acknowledges or pauses what is selected; what comes of it is heard as everybody hears it.
fn act(
    board: &Board,
    client: &AlertServiceClient<Channel>,
    happened: &mpsc::Sender<Happened>,
    acknowledge: bool,
) {
    let Some(alert_id) = board.selected().map(|alert| alert.alert_id.clone()) else { return };
    let (mut client, happened) = (client.clone(), happened.clone());
    tokio::spawn(async move {
        let tenant = String::new();
        let done = if acknowledge {
            client.acknowledge(AcknowledgeRequest { alert_id, tenant }).await.map(drop)
        } else {
            let request = PauseRequest { alert_id, tenant, seconds: PAUSE_SECONDS };
            client.pause(request).await.map(drop)
        };
        let text = done.map_or_else(|status| said(&status), |()| String::new());
        // The board may be gone by now.
        let _gone = happened.send(Happened::Told(text)).await;
    });
}

/// Subscribes again and again; tells how the connection stands.
async fn follow(endpoint: Endpoint, wanted: SubscribeRequest, happened: mpsc::Sender<Happened>) {
    loop {
        let why = match stream(&endpoint, &wanted, &happened).await {
            Ok(()) => return,
            Err(why) => why,
        };
        let lost = Link::Lost { since_us: crate::front::now_us(), why };
        if happened.send(Happened::Link(lost)).await.is_err() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Lists what is on, the highest priority first: what there is no room for is of the lowest. Says whether there is more.
async fn list_by_priority(
    client: &mut AlertServiceClient<Channel>,
    wanted: ListAlertsRequest,
) -> Result<(Vec<Alert>, bool), Status> {
    let mut listed: Vec<Alert> = Vec::new();
    for least in [Priority::High, Priority::Medium, Priority::Low] {
        let min_priority = wanted.min_priority.max(least.into());
        let request = ListAlertsRequest { min_priority, ..wanted.clone() };
        let page = client.list_alerts(request).await?.into_inner().alerts;
        let is_full = page.len() >= LISTED_MAX as usize;
        listed.extend(page);
        if is_full || min_priority != i32::from(least) {
            return Ok((listed, is_full));
        }
    }
    Ok((listed, false))
}

/// Returns when nobody looks any more; an error is why the stream ended.
async fn stream(
    endpoint: &Endpoint,
    wanted: &SubscribeRequest,
    happened: &mpsc::Sender<Happened>,
) -> Result<(), String> {
    let why = |status: Status| said(&status);
    let channel = endpoint.connect().await.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    let mut client = AlertServiceClient::new(channel);
    // First the stream, then the list: what happens in between is in both.
    let request = SubscribeRequest { from_now: true, ..wanted.clone() };
    let mut stream = client.subscribe(request).await.map_err(why)?.into_inner();
    let list = ListAlertsRequest {
        page_size: LISTED_MAX,
        sites: wanted.sites.clone(),
        devices: wanted.devices.clone(),
        min_priority: wanted.min_priority,
        ..ListAlertsRequest::default()
    };
    let (listed, more) = list_by_priority(&mut client, list).await.map_err(why)?;
    if happened.send(Happened::Listed(listed, more)).await.is_err() {
        return Ok(());
    }
    loop {
        let response = tokio::time::timeout(SILENCE_MAX, stream.message()).await;
        let response = response.map_err(|_elapsed| "no heartbeat".to_owned())?.map_err(why)?;
        let response = response.ok_or("the gateway ended the stream")?;
        if let Some(kind) = response.kind
            && happened.send(Happened::Heard(Box::new(kind))).await.is_err()
        {
            return Ok(());
        }
    }
}
