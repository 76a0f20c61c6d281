//! `wardline init`, `wardline device`, `wardline service`: a data directory and its certificates.

use crate::operate;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};
use wardline_store::registry::{Duties, IssuedCertificate, Reject, Role, Sites};

/// Makes a data directory: certificate authority, the gateway's certificate, keyring, database.
#[derive(Debug, Args)]
pub struct InitCommand {
    /// Folder to make.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Trust domain of all identities, such as wardline.st-mary.example.
    #[arg(long, default_value = "wardline.local")]
    trust_domain: String,
    /// Names and addresses that devices reach the gateway by, the best first. Those of this machine (localhost,
    /// 127.0.0.1, ::1) are in the certificate too, for commands beside the gateway.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

impl InitCommand {
    /// Runs the command.
    pub async fn run(mut self) -> anyhow::Result<ExitCode> {
        for own in ["localhost", "127.0.0.1", "::1"] {
            if !self.hosts.iter().any(|host| host == own) {
                self.hosts.push(own.to_owned());
            }
        }
        operate::init(&self.data_dir, &self.trust_domain, &self.hosts).await?;
        let dir = self.data_dir.display();
        println!("data directory {dir}, trust domain {}", self.trust_domain);
        println!(
            "Keep {dir}/pki/root.key and {dir}/keyring.json safe; without the keyring the archive is unreadable."
        );
        println!("The operator's certificate, for 30 days, is in {dir}/operator.");
        println!("Next:");
        println!("  wardline device issue --data-dir {dir} --tenant T --device D --out certs/T/D");
        println!("  wardline serve --data-dir {dir}");
        Ok(ExitCode::SUCCESS)
    }
}

/// Issues and revokes devices' certificates.
#[derive(Debug, Args)]
pub struct DeviceCommand {
    #[command(subcommand)]
    action: DeviceAction,
}

#[derive(Debug, Subcommand)]
enum DeviceAction {
    /// Register a device and write its cert.pem, key.pem and ca.pem.
    Issue(DeviceIssue),
    /// Revoke all certificates of a device; its live session is cut.
    Revoke(DeviceName),
    #[command(flatten)]
    Registry(super::registry::device::DeviceAction),
}

#[derive(Debug, Args)]
struct DeviceName {
    /// Data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Tenant that owns the device.
    #[arg(long)]
    tenant: TenantId,
    /// The device's id within the tenant.
    #[arg(long)]
    device: DeviceId,
}

#[derive(Debug, Args)]
struct DeviceIssue {
    #[command(flatten)]
    name: DeviceName,
    /// Folder for the three files.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl DeviceCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            DeviceAction::Issue(DeviceIssue { name, out }) => {
                let key = DeviceKey { tenant: name.tenant, device: name.device };
                say(&operate::issue_device(&name.data_dir, &key, &out).await?, &out);
            }
            DeviceAction::Revoke(name) => {
                let key = DeviceKey { tenant: name.tenant, device: name.device };
                let revoked = operate::revoke(&name.data_dir, &Identity::Device(key.clone())).await?;
                println!("{revoked} certificates of {key} revoked");
            }
            DeviceAction::Registry(action) => return action.run().await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Issues and revokes certificates of services, such as subscribers to alerts.
#[derive(Debug, Args)]
pub struct ServiceCommand {
    #[command(subcommand)]
    action: ServiceAction,
}

#[derive(Debug, Subcommand)]
enum ServiceAction {
    /// Write cert.pem, key.pem and ca.pem.
    Issue(ServiceIssue),
    /// Revoke all certificates; subscriptions are cut.
    Revoke(ServiceName),
}

#[derive(Debug, Args)]
struct ServiceName {
    /// Data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
    /// Tenant that it belongs to.
    #[arg(long)]
    tenant: TenantId,
    /// Its name within the tenant.
    #[arg(long)]
    name: DeviceId,
}

#[derive(Debug, Args)]
struct ServiceIssue {
    #[command(flatten)]
    name: ServiceName,
    /// What it may do: maker, tenant-admin, clinician, analyst, auditor or operator; may be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// A site (ward) whose devices and patients it sees as a clinician; may be repeated. `*` is every site; without any
    /// a clinician sees none.
    #[arg(long = "site", visible_alias = "ward", value_name = "SITE", requires = "roles")]
    sites: Vec<String>,
    /// Folder for the three files.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl ServiceIssue {
    fn duties(&self) -> Result<Duties, Reject> {
        Ok(Duties::at(&self.roles, Sites::of(self.sites.iter().map(String::as_str))?))
    }
}

impl ServiceCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            ServiceAction::Issue(issue) => {
                let duties = issue.duties()?;
                let ServiceName { data_dir, tenant, name } = issue.name;
                let identity = Identity::Service { tenant, name };
                say(&operate::issue_principal(&data_dir, identity, duties, &issue.out).await?, &issue.out);
            }
            ServiceAction::Revoke(ServiceName { data_dir, tenant, name }) => {
                let identity = Identity::Service { tenant: tenant.clone(), name: name.clone() };
                let revoked = operate::revoke(&data_dir, &identity).await?;
                println!("{revoked} certificates of service {name} of {tenant} revoked");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Issues and revokes certificates of people.
#[derive(Debug, Args)]
pub struct UserCommand {
    #[command(subcommand)]
    action: ServiceAction,
}

impl UserCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            ServiceAction::Issue(issue) => {
                let duties = issue.duties()?;
                let ServiceName { data_dir, tenant, name } = issue.name;
                let identity = Identity::User { tenant, name };
                say(&operate::issue_principal(&data_dir, identity, duties, &issue.out).await?, &issue.out);
            }
            ServiceAction::Revoke(ServiceName { data_dir, tenant, name }) => {
                let identity = Identity::User { tenant: tenant.clone(), name: name.clone() };
                let revoked = operate::revoke(&data_dir, &identity).await?;
                println!("{revoked} certificates of user {name} of {tenant} revoked");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn say(certificate: &IssuedCertificate, out: &std::path::Path) {
    println!("{} serial {}", certificate.spiffe_uri, certificate.serial);
    println!("cert.pem, key.pem and ca.pem in {}", out.display());
}
