//! `wardline principal`, `wardline whoami`: services and people, and what they may do.

use super::table::{Table, time};
use super::{Connection, told};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::process::ExitCode;
use wardline_proto::v1::{
    ListPrincipalsRequest, Principal, PrincipalKind, PutPrincipalRequest, WhoamiRequest,
};

/// Gives roles to services and people, and lists them.
#[derive(Debug, Args)]
pub struct PrincipalCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Service,
    User,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give a service or person exactly these roles.
    #[command(
        after_help = "Example: wardline principal create --tenant st-mary --kind user --name ada --role clinician --site icu --data-dir data"
    )]
    Create {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// What it is.
        #[arg(long, value_enum)]
        kind: Kind,
        /// Its name within the tenant.
        #[arg(long)]
        name: String,
        /// maker, tenant-admin, clinician, analyst, auditor or operator; may be repeated. None takes all away.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// A site (ward) whose devices and patients it sees as a clinician; may be repeated. `*` is every site; without
        /// any a clinician sees none.
        #[arg(long = "site", visible_alias = "ward", value_name = "SITE")]
        sites: Vec<String>,
        #[command(flatten)]
        on: Connection,
    },
    /// List services and people.
    #[command(after_help = "Example: wardline principal list --tenant st-mary --data-dir data")]
    List {
        /// Of this tenant.
        #[arg(long, default_value = "")]
        tenant: String,
        #[command(flatten)]
        on: Connection,
    },
}

impl PrincipalCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create { tenant, kind, name, roles, sites, on } => {
                let kind = match kind {
                    Kind::Service => PrincipalKind::Service,
                    Kind::User => PrincipalKind::User,
                };
                let object = json!({ "tenant": tenant, "name": name, "roles": roles, "sites": sites });
                let at = if sites.is_empty() { String::new() } else { format!(" at {}", sites.join(", ")) };
                let sentence = format!("{tenant}/{name} has roles: {}{at}", roles.join(", "));
                let principal = Principal { tenant, kind: kind.into(), name, roles, sites, created_at_us: 0 };
                let request = PutPrincipalRequest { principal: Some(principal) };
                on.client().await?.put_principal(request).await.map_err(told)?;
                on.done(&sentence, &object);
            }
            Action::List { tenant, on } => {
                let request = ListPrincipalsRequest { tenant };
                let listed = on.client().await?.list_principals(request).await.map_err(told)?.into_inner();
                let mut table = Table::new(&["tenant", "kind", "name", "roles", "sites", "created"]);
                for row in listed.principals {
                    let is_user = row.kind == i32::from(PrincipalKind::User);
                    let (kind, created) = (if is_user { "user" } else { "service" }, time(row.created_at_us));
                    let (roles, sites) = (row.roles.into(), row.sites.into());
                    table.row([row.tenant.into(), kind.into(), row.name.into(), roles, sites, created]);
                }
                on.show(&table)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says whose certificate this is and what it may do.
#[derive(Debug, Args)]
#[command(after_help = "Example: wardline whoami --certs certs/ada --server https://gateway.example:8443")]
pub struct WhoamiCommand {
    #[command(flatten)]
    on: Connection,
}

impl WhoamiCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let who = self.on.client().await?.whoami(WhoamiRequest {}).await.map_err(told)?.into_inner();
        let mut table = Table::new(&["identity", "tenant", "roles", "expires", "methods"]);
        let methods: Value = if self.on.json { who.methods.into() } else { who.methods.len().into() };
        let expires = time(who.not_after_us);
        table.row([who.spiffe_uri.into(), who.tenant.into(), who.roles.into(), expires, methods]);
        self.on.show(&table)?;
        Ok(ExitCode::SUCCESS)
    }
}
