//! `wardline alerts deliveries`, `listeners` and `release`.

use super::{Server, line, said};
use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use wardline_proto::v1::{
    Delivery, ListDeliveriesRequest, ListListenersRequest, ListenerState, ListenerStatus,
    ReleaseListenerRequest,
};

#[derive(Debug, Args)]
pub(super) struct Deliveries {
    #[command(flatten)]
    server: Server,
    /// Only of this alert: its whole id.
    #[arg(long, default_value = "")]
    alert: String,
    /// Only to this listener, as `listeners` prints it.
    #[arg(long, default_value = "")]
    listener: String,
    /// Only those that nobody has accepted.
    #[arg(long)]
    open: bool,
    /// At most this many.
    #[arg(long, default_value_t = 100)]
    limit: u32,
}

#[derive(Debug, Args)]
pub(super) struct Listeners {
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(super) struct Release {
    #[command(flatten)]
    server: Server,
    /// The listener, as `listeners` prints it.
    listener: String,
}

impl Deliveries {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { server, alert, listener, open, limit } = self;
        let request = ListDeliveriesRequest {
            alert_id: alert,
            listener,
            open,
            page_size: limit,
            tenant: String::new(),
        };
        let listed = server.client().await?.list_deliveries(request).await;
        let listed = listed.map_err(|status| anyhow::anyhow!(said(&status)))?.into_inner().deliveries;
        for delivery in &listed {
            println!("{}", if server.json { delivery_json(delivery) } else { delivery_text(delivery) });
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Listeners {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let listed = self.server.client().await?.list_listeners(ListListenersRequest::default()).await;
        let listed = listed.map_err(|status| anyhow::anyhow!(said(&status)))?.into_inner().listeners;
        for listener in &listed {
            let text = if self.server.json { listener_json(listener) } else { listener_text(listener) };
            println!("{text}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Release {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let request = ReleaseListenerRequest { listener: self.listener, tenant: String::new() };
        let released = self.server.client().await?.release_listener(request).await;
        released.map_err(|status| anyhow::anyhow!(said(&status)))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn delivery_text(delivery: &Delivery) -> String {
    let accepted = match delivery.accepted_at_us {
        0 => "not accepted".to_owned(),
        at_us => format!("accepted {} ms later", (at_us - delivery.sent_at_us) / 1000),
    };
    let Delivery { listener, cursor, alert_id, sent_at_us, times, .. } = delivery;
    let id = alert_id.get(..12).unwrap_or_default();
    let again = if *times > 1 { format!(", {times} times") } else { String::new() };
    format!("{} #{cursor} [{id}] to {listener}{again}: {accepted}", line::clock(*sent_at_us))
}

fn delivery_json(delivery: &Delivery) -> String {
    json!({
        "listener": delivery.listener,
        "cursor": delivery.cursor,
        "alert_id": delivery.alert_id,
        "sent_at_us": delivery.sent_at_us,
        "times": delivery.times,
        "accepted_at_us": (delivery.accepted_at_us != 0).then_some(delivery.accepted_at_us),
    })
    .to_string()
}

fn state(listener: &ListenerStatus) -> &'static str {
    match listener.state() {
        ListenerState::Listening => "listening",
        ListenerState::Lagging => "lagging",
        ListenerState::Gone => "gone",
        ListenerState::Unspecified => "unknown",
    }
}

fn listener_text(listener: &ListenerStatus) -> String {
    let wards = if listener.sites.is_empty() { "every ward".into() } else { listener.sites.join(", ") };
    let lease = match listener.leased_until_us {
        0 => "no lease".to_owned(),
        until_us => format!("lease until {}", line::clock(until_us)),
    };
    let ListenerStatus { listener: name, sent, confirmed, .. } = listener;
    let misses = match listener.misses.as_str() {
        "" => String::new(),
        misses => format!(", hears a part alone (by {misses})"),
    };
    format!("{:<9} {name} for {wards}: sent {sent}, confirmed {confirmed}, {lease}{misses}", state(listener))
}

fn listener_json(listener: &ListenerStatus) -> String {
    json!({
        "listener": listener.listener,
        "sites": listener.sites,
        "misses": listener.misses,
        "state": state(listener),
        "sent": listener.sent,
        "confirmed": listener.confirmed,
        "lease_s": listener.lease_s,
        "leased_until_us": (listener.leased_until_us != 0).then_some(listener.leased_until_us),
    })
    .to_string()
}
