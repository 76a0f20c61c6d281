//! `wardline alerts ack` and `pause`.

use super::{Server, said};
use anyhow::bail;
use clap::Args;
use std::process::ExitCode;
use tonic::transport::Channel;
use wardline_proto::v1::alert_service_client::AlertServiceClient;
use wardline_proto::v1::{AcknowledgeRequest, Alert, GetAlertRequest, ListAlertsRequest, PauseRequest};

/// Digits of an id that are enough: as the other commands print them.
const PREFIX_MIN: usize = 6;
/// Alerts among which a short id is looked for.
const LOOKED_AT: u32 = 1000;

#[derive(Debug, Args)]
pub(super) struct Ack {
    #[command(flatten)]
    server: Server,
    /// The alert's id, or its first digits.
    alert: String,
}

#[derive(Debug, Args)]
pub(super) struct Pause {
    #[command(flatten)]
    server: Server,
    /// The alert's id, or its first digits.
    alert: String,
    /// For how many seconds, an hour at most; 0 ends the pause.
    #[arg(long, default_value_t = 120)]
    seconds: u32,
}

impl Ack {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut client = self.server.client().await?;
        let alert_id = whole(&mut client, self.alert).await?;
        let request = AcknowledgeRequest { alert_id, tenant: String::new() };
        let done = client.acknowledge(request).await.map_err(|status| anyhow::anyhow!(said(&status)))?;
        print(&self.server, done.into_inner().alert)
    }
}

impl Pause {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut client = self.server.client().await?;
        let alert_id = whole(&mut client, self.alert).await?;
        let request = PauseRequest { alert_id, tenant: String::new(), seconds: self.seconds };
        let done = client.pause(request).await.map_err(|status| anyhow::anyhow!(said(&status)))?;
        print(&self.server, done.into_inner().alert)
    }
}

fn print(server: &Server, alert: Option<Alert>) -> anyhow::Result<ExitCode> {
    println!("{}", server.style().alert(&alert.unwrap_or_default()));
    Ok(ExitCode::SUCCESS)
}

/// Returns the one alert, over or not, whose id begins like this.
pub(super) async fn find(client: &mut AlertServiceClient<Channel>, id: String) -> anyhow::Result<Alert> {
    if id.len() < PREFIX_MIN {
        bail!("give at least {PREFIX_MIN} digits of the alert's id");
    }
    if id.len() >= 64 {
        let request = GetAlertRequest { alert_id: id, tenant: String::new() };
        let got = client.get_alert(request).await.map_err(|status| anyhow::anyhow!(said(&status)))?;
        return got.into_inner().alert.ok_or_else(|| anyhow::anyhow!("there is no such alert"));
    }
    let request =
        ListAlertsRequest { page_size: LOOKED_AT, include_ended: true, ..ListAlertsRequest::default() };
    let listed = client.list_alerts(request).await.map_err(|status| anyhow::anyhow!(said(&status)))?;
    let mut found = listed.into_inner().alerts.into_iter().filter(|alert| alert.alert_id.starts_with(&id));
    match (found.next(), found.next()) {
        (Some(alert), None) => Ok(alert),
        (None, _) => bail!("none of the newest {LOOKED_AT} alerts has an id that begins with {id}"),
        _ => bail!("more than one alert has an id that begins with {id}: give more digits"),
    }
}

/// Finds the one present alert whose id begins like this.
async fn whole(client: &mut AlertServiceClient<Channel>, id: String) -> anyhow::Result<String> {
    if id.len() >= 64 {
        return Ok(id);
    }
    if id.len() < PREFIX_MIN {
        bail!("give at least {PREFIX_MIN} digits of the alert's id");
    }
    let request = ListAlertsRequest { page_size: LOOKED_AT, ..ListAlertsRequest::default() };
    let listed = client.list_alerts(request).await.map_err(|status| anyhow::anyhow!(said(&status)))?;
    let found = listed.into_inner().alerts.into_iter().map(|alert| alert.alert_id);
    let mut found: Vec<String> = found.filter(|alert_id| alert_id.starts_with(&id)).collect();
    match (found.pop(), found.len()) {
        (Some(alert_id), 0) => Ok(alert_id),
        (None, _) => bail!("no present alert has an id that begins with {id}"),
        _ => bail!("more than one alert has an id that begins with {id}: give more digits"),
    }
}
