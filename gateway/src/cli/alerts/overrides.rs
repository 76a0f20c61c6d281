//! `wardline alerts override`: other values of rules for a tenant, a ward or a patient.

use super::{Server, line, said};
use crate::cli::registry::parse_time;
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;
use wardline_proto::v1::{
    AlertOverride, EndOverrideRequest, ListOverridesRequest, OverrideSetting, SetOverrideRequest,
};

#[derive(Debug, Args)]
pub(super) struct Override {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put another value in the place of a rule's. It is in force from five seconds after it was set, at the earliest.
    #[command(
        after_help = "Example: wardline alerts override set spo2-low --below 86 --subject s-4711 --reason 'COPD, target 88-92'"
    )]
    Set(Set),
    /// Print overrides, the newest first.
    List(List),
    /// End an override before its time.
    End(End),
}

#[derive(Debug, Args)]
struct Set {
    #[command(flatten)]
    server: Server,
    /// The rule.
    rule: String,
    #[command(flatten)]
    value: Value,
    /// For what this subject wears, a pseudonym; without it and --ward for the whole tenant.
    #[arg(long, conflicts_with = "ward")]
    subject: Option<String>,
    /// For the devices of this ward (site).
    #[arg(long, value_name = "SITE")]
    ward: Option<String>,
    /// From this time on: 2026-11-21T08:00:00Z. Now when it is not given.
    #[arg(long, value_parser = parse_time)]
    from: Option<i64>,
    /// Before this time; until it is ended when it is not given.
    #[arg(long, value_parser = parse_time)]
    until: Option<i64>,
    /// Why; no patient data.
    #[arg(long)]
    reason: String,
    /// Another tenant's, for an operator.
    #[arg(long, default_value = "")]
    tenant: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Value {
    /// The limit of a threshold that alarms below it.
    #[arg(long)]
    below: Option<f64>,
    /// The limit of a threshold that alarms above it.
    #[arg(long)]
    above: Option<f64>,
    /// The column of NEWS2 for oxygen saturation, 1 or 2; needs --subject.
    #[arg(long, requires = "subject")]
    spo2_scale: Option<u8>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    server: Server,
    /// Those too that are over.
    #[arg(long)]
    all: bool,
    /// Another tenant's, for an operator.
    #[arg(long, default_value = "")]
    tenant: String,
}

#[derive(Debug, Args)]
struct End {
    #[command(flatten)]
    server: Server,
    /// The override's number.
    number: i64,
    /// Another tenant's, for an operator.
    #[arg(long, default_value = "")]
    tenant: String,
}

impl Override {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Set(set) => set.run().await,
            Action::List(list) => list.run().await,
            Action::End(end) => end.run().await,
        }
    }
}

impl Set {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let (setting, value) = match self.value {
            Value { below: Some(below), .. } => (OverrideSetting::Below, below),
            Value { above: Some(above), .. } => (OverrideSetting::Above, above),
            Value { spo2_scale, .. } => (OverrideSetting::Spo2Scale, f64::from(spo2_scale.unwrap_or(1))),
        };
        let wanted = AlertOverride {
            tenant: self.tenant,
            site: self.ward.unwrap_or_default(),
            subject: self.subject.unwrap_or_default(),
            rule_id: self.rule,
            setting: setting.into(),
            value,
            from_us: self.from.unwrap_or(0),
            until_us: self.until.unwrap_or(0),
            reason: self.reason,
            ..AlertOverride::default()
        };
        let request = SetOverrideRequest { r#override: Some(wanted) };
        let done = self.server.client().await?.set_override(request).await;
        let done = done.map_err(|status| anyhow::anyhow!(said(&status)))?.into_inner();
        print(&self.server, &done.r#override.unwrap_or_default());
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let request = ListOverridesRequest { include_ended: self.all, tenant: self.tenant };
        let listed = self.server.client().await?.list_overrides(request).await;
        let listed = listed.map_err(|status| anyhow::anyhow!(said(&status)))?.into_inner().overrides;
        listed.iter().for_each(|one| print(&self.server, one));
        if listed.is_empty() {
            eprintln!("no overrides");
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl End {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let request = EndOverrideRequest { override_id: self.number, tenant: self.tenant };
        let done = self.server.client().await?.end_override(request).await;
        let done = done.map_err(|status| anyhow::anyhow!(said(&status)))?.into_inner();
        print(&self.server, &done.r#override.unwrap_or_default());
        Ok(ExitCode::SUCCESS)
    }
}

fn print(server: &Server, said: &AlertOverride) {
    println!("{}", if server.json { as_json(said) } else { as_text(said) });
}

fn setting(said: &AlertOverride) -> &'static str {
    match said.setting() {
        OverrideSetting::Below => "below",
        OverrideSetting::Above => "above",
        OverrideSetting::Spo2Scale => "SpO2 scale",
        OverrideSetting::Unspecified => "?",
    }
}

fn as_text(one: &AlertOverride) -> String {
    let whom = match (one.subject.as_str(), one.site.as_str()) {
        ("", "") => format!("tenant {}", one.tenant),
        ("", site) => format!("ward {site}"),
        (subject, _) => format!("patient {subject}"),
    };
    let until = match one.effective_until_us {
        0 => "until it is ended".to_owned(),
        until_us => format!("until {}", line::clock(until_us)),
    };
    let ended = if one.ended_by.is_empty() { String::new() } else { format!(", ended by {}", one.ended_by) };
    let AlertOverride { override_id, rule_id, value, reason, set_by, .. } = one;
    let from = line::clock(one.effective_from_us);
    format!(
        "#{override_id} {rule_id} {} {value} for {whom}, from {from} {until}: {reason} ({set_by}{ended})",
        setting(one)
    )
}

fn as_json(one: &AlertOverride) -> String {
    json!({
        "override_id": one.override_id,
        "tenant": one.tenant,
        "site": one.site,
        "subject": one.subject,
        "rule_id": one.rule_id,
        "setting": setting(one),
        "value": one.value,
        "from_us": one.from_us,
        "until_us": (one.until_us != 0).then_some(one.until_us),
        "effective_from_us": one.effective_from_us,
        "effective_until_us": (one.effective_until_us != 0).then_some(one.effective_until_us),
        "reason": one.reason,
        "set_by": one.set_by,
        "set_at_us": one.set_at_us,
        "ended_by": one.ended_by,
        "ended_at_us": (one.ended_at_us != 0).then_some(one.ended_at_us),
    })
    .to_string()
}
