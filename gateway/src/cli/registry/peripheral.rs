//! `wardline peripheral`: sensors behind a hub, which speaks for them.

use super::table::Table;
use super::{Connection, told};
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;
use wardline_proto::v1::{AddPeripheralRequest, ListPeripheralsRequest, Peripheral};

/// Registers and lists the sensors behind a hub.
#[derive(Debug, Args)]
pub struct PeripheralCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register a sensor behind a hub; the same again changes nothing.
    #[command(
        after_help = "Example: wardline peripheral create spo2 --tenant st-mary --hub hub-1 --model probe --serial 0042 --data-dir data"
    )]
    Create {
        /// Its id at the hub.
        peripheral: String,
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The device that speaks for it.
        #[arg(long)]
        hub: String,
        /// Its model.
        #[arg(long, default_value = "")]
        model: String,
        /// Serial number of its hardware.
        #[arg(long, default_value = "")]
        serial: String,
        #[command(flatten)]
        on: Connection,
    },
    /// List the sensors behind a hub.
    #[command(after_help = "Example: wardline peripheral list --tenant st-mary --hub hub-1 --data-dir data")]
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// The device that speaks for them.
        #[arg(long)]
        hub: String,
        #[command(flatten)]
        on: Connection,
    },
}

impl PeripheralCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create { peripheral, tenant, hub, model, serial, on } => {
                let sentence = format!("{peripheral} is registered behind {tenant}/{hub}");
                let object = json!({ "tenant": tenant, "hub": hub, "peripheral": peripheral });
                let peripheral = Peripheral { tenant, hub, peripheral, model, serial_number: serial };
                let request = AddPeripheralRequest { peripheral: Some(peripheral) };
                on.client().await?.add_peripheral(request).await.map_err(told)?;
                on.done(&sentence, &object);
            }
            Action::List { tenant, hub, on } => {
                let request = ListPeripheralsRequest { tenant, hub };
                let listed = on.client().await?.list_peripherals(request).await.map_err(told)?;
                let mut table = Table::new(&["tenant", "hub", "peripheral", "model", "serial"]);
                for row in listed.into_inner().peripherals {
                    let names = [row.tenant.into(), row.hub.into(), row.peripheral.into()];
                    let [tenant, hub, peripheral] = names;
                    table.row([tenant, hub, peripheral, row.model.into(), row.serial_number.into()]);
                }
                on.show(&table)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
