//! `wardline binding`: who wore a device when.

use super::table::{Table, time};
use super::{Connection, parse_time, told};
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;
use wardline_proto::v1::{BindRequest, GetWearerRequest, ListBindingsRequest};

/// Records and tells who wore a device.
#[derive(Debug, Args)]
pub struct BindingCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Record who wears a device; a later entry mends an earlier one.
    #[command(
        after_help = "Example: wardline binding create --tenant st-mary --device mon-7 --subject p-4711 --data-dir data"
    )]
    Create {
        /// Tenant that owns the device.
        #[arg(long)]
        tenant: String,
        /// The device.
        #[arg(long)]
        device: String,
        /// Who wears it, a pseudonym; left out: nobody.
        #[arg(long, default_value = "")]
        subject: String,
        /// From when on.
        #[arg(long, value_name = "TIME", default_value = "now", value_parser = parse_time)]
        from: i64,
        /// Until when; left out: it goes on.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        until: Option<i64>,
        #[command(flatten)]
        on: Connection,
    },
    /// List a device's ledger.
    #[command(after_help = "Example: wardline binding list --tenant st-mary --device mon-7 --data-dir data")]
    List {
        /// Tenant that owns the device.
        #[arg(long)]
        tenant: String,
        /// The device.
        #[arg(long)]
        device: String,
        #[command(flatten)]
        on: Connection,
    },
    /// Tell who wore a device at a time, as it was known at another.
    #[command(
        after_help = "Example: wardline binding show --tenant st-mary --device mon-7 --at 2026-11-20T08:00:00Z --data-dir data"
    )]
    Show {
        /// Tenant that owns the device.
        #[arg(long)]
        tenant: String,
        /// The device.
        #[arg(long)]
        device: String,
        /// At this time.
        #[arg(long, value_name = "TIME", default_value = "now", value_parser = parse_time)]
        at: i64,
        /// As it was known at this time.
        #[arg(long, value_name = "TIME", default_value = "now", value_parser = parse_time)]
        known_at: i64,
        #[command(flatten)]
        on: Connection,
    },
}

impl BindingCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create { tenant, device, subject, from, until, on } => {
                let until_us = until.unwrap_or(0);
                let request = BindRequest { tenant, device, subject, from_us: from, until_us };
                let id = on.client().await?.bind(request).await.map_err(told)?.into_inner().binding_id;
                on.done(&format!("recorded as entry {id}"), &json!({ "entry": id }));
            }
            Action::List { tenant, device, on } => {
                let request = ListBindingsRequest { tenant, device };
                let listed = on.client().await?.list_bindings(request).await.map_err(told)?.into_inner();
                let mut table = Table::new(&["entry", "subject", "from", "until", "recorded", "by"]);
                for entry in listed.bindings {
                    let [from, until, recorded] =
                        [entry.from_us, entry.until_us, entry.recorded_at_us].map(time);
                    let (id, subject) = (entry.binding_id.into(), entry.subject.into());
                    table.row([id, subject, from, until, recorded, entry.recorded_by.into()]);
                }
                on.show(&table)?;
            }
            Action::Show { tenant, device, at, known_at, on } => {
                let request = GetWearerRequest { tenant, device, at_us: at, known_at_us: known_at };
                let subject =
                    on.client().await?.get_wearer(request).await.map_err(told)?.into_inner().subject;
                let sentence = if subject.is_empty() { "nobody, as far as is known" } else { &subject };
                on.done(sentence, &json!({ "subject": subject }));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
