//! `wardline manufacturer`: authorities of makers, and the serial numbers that may enrol with them.

use super::table::{Table, time};
use super::{Connection, told};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wardline_proto::v1::{AddManufacturerCaRequest, AllowSerialsRequest, ListManufacturerCasRequest};

/// Registers manufacturers' authorities and allows serial numbers.
#[derive(Debug, Args)]
pub struct ManufacturerCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register an authority.
    #[command(
        after_help = "Example: wardline manufacturer create --maker acme --tenant st-mary --pem acme-ca.pem --data-dir data"
    )]
    Create {
        /// The tenant that makes the devices.
        #[arg(long)]
        maker: String,
        /// The tenant that they enrol with; the maker when it is not given.
        #[arg(long, default_value = "")]
        tenant: String,
        /// Model of the devices.
        #[arg(long, default_value = "")]
        model: String,
        /// File with the authority's certificate.
        #[arg(long, value_name = "FILE")]
        pem: PathBuf,
        #[command(flatten)]
        on: Connection,
    },
    /// List authorities.
    #[command(after_help = "Example: wardline manufacturer list --data-dir data")]
    List {
        #[command(flatten)]
        on: Connection,
    },
    /// Allow the serial numbers of a file, one a line.
    #[command(
        after_help = "Example: wardline manufacturer allow --ca 3f2a... --file serials.txt --data-dir data"
    )]
    Allow {
        /// The authority's id, as `list` prints it.
        #[arg(long)]
        ca: String,
        /// The file.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        on: Connection,
    },
}

impl ManufacturerCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create { maker, tenant, model, pem, on } => {
                let request = AddManufacturerCaRequest { maker, tenant, model, pem: text(&pem)? };
                let added = on.client().await?.add_manufacturer_ca(request).await.map_err(told)?.into_inner();
                let object = json!({ "ca": added.ca_id });
                on.done(&format!("authority {} is registered", added.ca_id), &object);
            }
            Action::List { on } => {
                let request = ListManufacturerCasRequest {};
                let listed = on.client().await?.list_manufacturer_cas(request).await.map_err(told)?;
                let mut table = Table::new(&["ca", "maker", "tenant", "model", "revoked"]);
                for ca in listed.into_inner().cas {
                    let revoked = time(ca.revoked_at_us);
                    table.row([ca.ca_id.into(), ca.maker.into(), ca.tenant.into(), ca.model.into(), revoked]);
                }
                on.show(&table)?;
            }
            Action::Allow { ca, file, on } => {
                let text = text(&file)?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
                let serial_numbers = lines.map(ToOwned::to_owned).collect();
                let request = AllowSerialsRequest { ca_id: ca.clone(), serial_numbers };
                let added = on.client().await?.allow_serials(request).await.map_err(told)?.into_inner().added;
                on.done(&format!("{added} new serial numbers allowed"), &json!({ "ca": ca, "added": added }));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
