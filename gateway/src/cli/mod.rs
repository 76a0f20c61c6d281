//! The command line: what an operator types, and the process around it.

pub mod alerts;
pub mod archive;
pub mod archive_certificate;
pub mod archive_completeness;
pub mod archive_erase;
pub mod archive_export;
pub mod archive_quarantine;
pub mod archive_reconcile;
pub mod archive_resends;
pub mod archive_verify;
pub mod audit;
pub mod cert;
pub mod conform;
pub mod keys;
pub mod profile;
pub mod query;
pub mod registry;
pub mod serve;
pub mod setup;

use clap::{CommandFactory, Parser, Subcommand};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// What a configuration or command line error ends with (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// The router of the way down calls a device that comes back an error. What we must know of it we say ourselves: links
/// by the audit, its death by the front's supervisor.
const LOG_DEFAULT: &str = "info,rumqttd=off";

/// Wardline: takes in the telemetry of medical devices; an acknowledgement means durable.
#[derive(Debug, Parser)]
#[command(name = "wardline", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a data directory with certificates and keys.
    Init(setup::InitCommand),
    /// Register, import, list and change devices; issue and revoke their certificates.
    Device(setup::DeviceCommand),
    /// Issue and revoke certificates of services, such as subscribers to alerts.
    Service(setup::ServiceCommand),
    /// Issue and revoke certificates of people.
    User(setup::UserCommand),
    /// Create, list, suspend and resume tenants.
    Tenant(registry::tenant::TenantCommand),
    /// Create and list sites of a tenant.
    Site(registry::tenant::SiteCommand),
    /// Register and list models of devices.
    Model(registry::model::ModelCommand),
    /// Create, list and revoke claims, with which devices enrol.
    Claim(registry::claim::ClaimCommand),
    /// Record and tell who wore a device.
    Binding(registry::binding::BindingCommand),
    /// Show and revoke issued certificates; renew the gateway's own and the operator's.
    Cert(cert::CertCommand),
    /// Give roles to services and people, and list them.
    Principal(registry::principal::PrincipalCommand),
    /// Register manufacturers' authorities and allow serial numbers.
    Manufacturer(registry::manufacturer::ManufacturerCommand),
    /// Register and list the sensors behind a hub.
    Peripheral(registry::peripheral::PeripheralCommand),
    /// Say whose certificate this is and what it may do.
    Whoami(registry::principal::WhoamiCommand),
    /// Print the completions of a shell, such as `source <(wardline completions bash)`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Run the gateway.
    Serve(serve::ServeCommand),
    /// Show what the archive holds, without a SQL engine.
    Archive(archive::ArchiveCommand),
    /// List, make, renew and destroy the archive's master keys.
    Keys(keys::KeysCommand),
    /// Hold a device to its profile.
    Conform(conform::ConformCommand),
    /// Check device profiles, and data against them.
    Profile(profile::ProfileCommand),
    /// List the audit trail, and prove that it is whole.
    Audit(audit::AuditCommand),
    /// Run SQL over the archive; hands over to `wardline-query`.
    Query(query::QueryCommand),
    /// Follow and list alerts over gRPC.
    Alerts(alerts::AlertsCommand),
    /// See the whole path at work: devices, agents, gateway, archive, one alert.
    Demo(crate::demo::DemoCommand),
}

impl Command {
    /// What is logged when `WARDLINE_LOG` does not say: the demo has a board of its own.
    fn log_default(&self) -> &'static str {
        if matches!(self, Self::Demo(_) | Self::Conform(_)) { "error,rumqttd=off" } else { LOG_DEFAULT }
    }
}

/// Parses the command line and runs the command to its end.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            // Nothing is left to do when the terminal is gone.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let filter =
        EnvFilter::try_from_env("WARDLINE_LOG").unwrap_or_else(|_| EnvFilter::new(cli.command.log_default()));
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a crypto provider was installed before");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    runtime.block_on(run(cli.command)).unwrap_or_else(|error| failed(&error))
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(command) => command.run().await,
        Command::Device(command) => command.run().await,
        Command::Service(command) => command.run().await,
        Command::User(command) => command.run().await,
        Command::Tenant(command) => command.run().await,
        Command::Site(command) => command.run().await,
        Command::Model(command) => command.run().await,
        Command::Claim(command) => command.run().await,
        Command::Binding(command) => command.run().await,
        Command::Cert(command) => command.run().await,
        Command::Principal(command) => command.run().await,
        Command::Manufacturer(command) => command.run().await,
        Command::Peripheral(command) => command.run().await,
        Command::Whoami(command) => command.run().await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "wardline", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve(command) => command.run().await,
        Command::Archive(command) => command.run().await,
        Command::Keys(command) => command.run().await,
        Command::Conform(command) => command.run().await,
        Command::Profile(command) => command.run().await,
        Command::Audit(command) => command.run().await,
        Command::Query(command) => command.run(),
        Command::Alerts(command) => command.run().await,
        Command::Demo(command) => command.run().await,
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("wardline: {error:#}");
    ExitCode::FAILURE
}

/// Returns a time as people and programs read it, UTC.
pub(crate) fn time_text(at_us: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_us) * 1000);
    let text = time.ok().and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok());
    text.unwrap_or_else(|| at_us.to_string())
}
