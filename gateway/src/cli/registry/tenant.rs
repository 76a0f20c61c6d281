//! `wardline tenant`, `wardline site`.

use super::table::{Table, time};
use super::{Connection, told};
use clap::{Args, Subcommand};
use serde_json::json;
use std::process::ExitCode;
use wardline_proto::v1::{
    CreateSiteRequest, CreateTenantRequest, ListSitesRequest, ListTenantsRequest, SetTenantStateRequest,
};

/// Creates, lists, suspends and resumes tenants.
#[derive(Debug, Args)]
pub struct TenantCommand {
    #[command(subcommand)]
    action: TenantAction,
}

#[derive(Debug, Subcommand)]
enum TenantAction {
    /// Create a tenant; the same again changes nothing.
    #[command(after_help = "Example: wardline tenant create st-mary --name \"St Mary\" --data-dir data")]
    Create {
        /// Its id.
        tenant: String,
        /// For people; the id when it is not given.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        on: Connection,
    },
    /// List tenants.
    #[command(after_help = "Example: wardline tenant list --data-dir data --json")]
    List {
        #[command(flatten)]
        on: Connection,
    },
    /// Keep all devices of a tenant out.
    #[command(after_help = "Example: wardline tenant suspend st-mary --data-dir data")]
    Suspend(TenantName),
    /// Let the devices of a tenant in again.
    #[command(after_help = "Example: wardline tenant resume st-mary --data-dir data")]
    Resume(TenantName),
}

#[derive(Debug, Args)]
struct TenantName {
    /// Which tenant.
    tenant: String,
    #[command(flatten)]
    on: Connection,
}

impl TenantCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            TenantAction::Create { tenant, name, on } => {
                let display_name = name.unwrap_or_else(|| tenant.clone());
                let request = CreateTenantRequest { tenant: tenant.clone(), display_name };
                on.client().await?.create_tenant(request).await.map_err(told)?;
                on.done(&format!("tenant {tenant} is registered"), &json!({ "tenant": tenant }));
            }
            TenantAction::List { on } => {
                let listed = on.client().await?.list_tenants(ListTenantsRequest {}).await.map_err(told)?;
                let mut table = Table::new(&["tenant", "name", "suspended", "created"]);
                for tenant in listed.into_inner().tenants {
                    let created = time(tenant.created_at_us);
                    table.row([
                        tenant.tenant.into(),
                        tenant.display_name.into(),
                        tenant.suspended.into(),
                        created,
                    ]);
                }
                on.show(&table)?;
            }
            TenantAction::Suspend(name) => name.set(true).await?,
            TenantAction::Resume(name) => name.set(false).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl TenantName {
    async fn set(self, suspended: bool) -> anyhow::Result<()> {
        let Self { tenant, on } = self;
        let request = SetTenantStateRequest { tenant: tenant.clone(), suspended };
        on.client().await?.set_tenant_state(request).await.map_err(told)?;
        let state = if suspended { "suspended" } else { "active" };
        on.done(&format!("tenant {tenant} is {state}"), &json!({ "tenant": tenant, "suspended": suspended }));
        Ok(())
    }
}

/// Creates and lists sites of a tenant.
#[derive(Debug, Args)]
pub struct SiteCommand {
    #[command(subcommand)]
    action: SiteAction,
}

#[derive(Debug, Subcommand)]
enum SiteAction {
    /// Create a site, such as a ward.
    #[command(
        after_help = "Example: wardline site create icu-2 --tenant st-mary --name \"ICU 2\" --data-dir data"
    )]
    Create {
        /// Its id within the tenant.
        site: String,
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// For people; the id when it is not given.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        on: Connection,
    },
    /// List sites.
    #[command(after_help = "Example: wardline site list --tenant st-mary --data-dir data")]
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
        #[command(flatten)]
        on: Connection,
    },
}

impl SiteCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            SiteAction::Create { site, tenant, name, on } => {
                let display_name = name.unwrap_or_else(|| site.clone());
                let request = CreateSiteRequest { tenant: tenant.clone(), site: site.clone(), display_name };
                on.client().await?.create_site(request).await.map_err(told)?;
                let object = json!({ "tenant": tenant, "site": site });
                on.done(&format!("site {tenant}/{site} is registered"), &object);
            }
            SiteAction::List { tenant, on } => {
                let listed =
                    on.client().await?.list_sites(ListSitesRequest { tenant }).await.map_err(told)?;
                let mut table = Table::new(&["tenant", "site", "name", "created"]);
                for site in listed.into_inner().sites {
                    let created = time(site.created_at_us);
                    table.row([site.tenant.into(), site.site.into(), site.display_name.into(), created]);
                }
                on.show(&table)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
