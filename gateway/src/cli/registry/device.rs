//! `wardline device create|list|show|set-state|set-for-test|import`: beside the commands that issue offline.

use super::accepted::AcceptedCommand;
use super::import::ImportCommand;
use super::table::{Table, time};
use super::{Connection, told};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::process::ExitCode;
use wardline_proto::v1::{
    Device, DeviceState, GetDeviceRequest, ImportResult, ListDevicesRequest, RegisterDeviceRequest,
    SetDeviceStateRequest, SetForTestRequest,
};

/// What is done to devices over gRPC.
#[derive(Debug, Subcommand)]
pub enum DeviceAction {
    /// Register a device without a certificate.
    #[command(
        after_help = "Example: wardline device create --tenant st-mary --device mon-7 --model wd-200 --serial-number A17 --data-dir data"
    )]
    Create(Create),
    /// List devices.
    #[command(
        after_help = "Example: wardline device list --tenant st-mary --state active --data-dir data --json"
    )]
    List(List),
    /// Show a device.
    #[command(after_help = "Example: wardline device show --tenant st-mary --device mon-7 --data-dir data")]
    Show(Name),
    /// Suspend, retire or take back a device; its live session is cut.
    #[command(
        after_help = "Example: wardline device set-state --tenant st-mary --device mon-7 --state suspended --data-dir data"
    )]
    SetState {
        /// Which one.
        #[command(flatten)]
        name: Name,
        /// The state that it is to have.
        #[arg(long, value_enum)]
        state: State,
    },
    /// Say whether a device is for test: its data then never raises a live alarm.
    #[command(
        after_help = "Example: wardline device set-for-test --tenant st-mary --device mon-7 --for-test true --data-dir data"
    )]
    SetForTest {
        /// Which one.
        #[command(flatten)]
        name: Name,
        /// True or false.
        #[arg(long, action = clap::ArgAction::Set)]
        for_test: bool,
    },
    /// Register the devices of a CSV file; a second run changes nothing.
    Import(ImportCommand),
    /// Count what was accepted from a device since a time, from the archive on this machine.
    AcceptedAfter(AcceptedCommand),
}

/// Names a device.
#[derive(Debug, Args)]
pub struct Name {
    /// Tenant that owns the device.
    #[arg(long)]
    tenant: String,
    /// The device's id within the tenant.
    #[arg(long)]
    device: String,
    #[command(flatten)]
    on: Connection,
}

/// What is known of a new device.
#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    name: Name,
    /// Id of its model.
    #[arg(long, default_value = "")]
    model: String,
    /// Serial number of the hardware.
    #[arg(long, default_value = "")]
    serial_number: String,
    /// Id of its site.
    #[arg(long, default_value = "")]
    site: String,
    /// Unique device identifier.
    #[arg(long, default_value = "")]
    udi: String,
    /// Its data never raises a live alarm.
    #[arg(long)]
    for_test: bool,
}

/// Which devices to list.
#[derive(Debug, Args)]
pub struct List {
    /// Of this tenant.
    #[arg(long, default_value = "")]
    tenant: String,
    /// Of this model.
    #[arg(long, default_value = "")]
    model: String,
    /// At this site.
    #[arg(long, default_value = "")]
    site: String,
    /// In this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    on: Connection,
}

/// State of a device.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum State {
    /// It may connect.
    Active,
    /// It may not connect until it is taken back.
    Suspended,
    /// It will not connect again.
    Retired,
}

impl State {
    fn wire(self) -> DeviceState {
        match self {
            Self::Active => DeviceState::Active,
            Self::Suspended => DeviceState::Suspended,
            Self::Retired => DeviceState::Retired,
        }
    }
}

impl DeviceAction {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(create) => create.run().await?,
            Self::List(list) => list.run().await?,
            Self::Show(Name { tenant, device, on }) => {
                let request = GetDeviceRequest { tenant, device };
                let got = on.client().await?.get_device(request).await.map_err(told)?;
                on.show(&table(got.into_inner().device))?;
            }
            Self::SetState { name: Name { tenant, device, on }, state } => {
                let request = SetDeviceStateRequest { tenant, device, state: state.wire().into() };
                on.client().await?.set_device_state(request.clone()).await.map_err(told)?;
                let (name, state) =
                    (format!("{}/{}", request.tenant, request.device), state_name(request.state));
                on.done(&format!("device {name} is {state}"), &json!({ "device": name, "state": state }));
            }
            Self::SetForTest { name: Name { tenant, device, on }, for_test } => {
                let request = SetForTestRequest { tenant, device, for_test };
                on.client().await?.set_for_test(request.clone()).await.map_err(told)?;
                let name = format!("{}/{}", request.tenant, request.device);
                let object = json!({ "device": name, "for_test": for_test });
                on.done(&format!("device {name}: for test {for_test}"), &object);
            }
            Self::Import(import) => return import.run().await,
            Self::AcceptedAfter(accepted) => return accepted.run().await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let Name { tenant, device, on } = self.name;
        let name = format!("{tenant}/{device}");
        let device = Device {
            tenant,
            device,
            model: self.model,
            serial_number: self.serial_number,
            site: self.site,
            udi: self.udi,
            for_test: self.for_test,
            ..Device::default()
        };
        let request = RegisterDeviceRequest { device: Some(device) };
        let done = on.client().await?.register_device(request).await.map_err(told)?.into_inner();
        let result = result_name(done.result);
        on.done(&format!("device {name}: {result}"), &json!({ "device": name, "result": result }));
        Ok(())
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let mut request = ListDevicesRequest {
            tenant: self.tenant,
            model: self.model,
            site: self.site,
            state: self.state.map_or(DeviceState::Unspecified, State::wire).into(),
            ..ListDevicesRequest::default()
        };
        let (mut client, mut devices) = (self.on.client().await?, Vec::new());
        loop {
            let page = client.list_devices(request.clone()).await.map_err(told)?.into_inner();
            devices.extend(page.devices);
            if page.next_page_token.is_empty() {
                return self.on.show(&table(devices));
            }
            request.page_token = page.next_page_token;
        }
    }
}

/// Returns the name of what became of a device.
pub(super) fn result_name(result: i32) -> &'static str {
    match ImportResult::try_from(result) {
        Ok(ImportResult::Created) => "created",
        Ok(ImportResult::Same) => "same",
        Ok(ImportResult::Updated) => "updated",
        Ok(ImportResult::Refused | ImportResult::Unspecified) | Err(_) => "refused",
    }
}

fn state_name(state: i32) -> &'static str {
    match DeviceState::try_from(state) {
        Ok(DeviceState::Active) => "active",
        Ok(DeviceState::Suspended) => "suspended",
        Ok(DeviceState::Retired) => "retired",
        Ok(DeviceState::Unspecified) | Err(_) => "unknown",
    }
}

fn table(devices: impl IntoIterator<Item = Device>) -> Table {
    let mut table = Table::new(&[
        "tenant",
        "device",
        "model",
        "serial_number",
        "site",
        "udi",
        "state",
        "for_test",
        "created",
    ]);
    for device in devices {
        let (state, created) = (state_name(device.state).into(), time(device.created_at_us));
        table.row([
            device.tenant.into(),
            device.device.into(),
            device.model.into(),
            device.serial_number.into(),
            device.site.into(),
            device.udi.into(),
            state,
            device.for_test.into(),
            created,
        ]);
    }
    table
}
