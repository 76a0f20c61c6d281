//! `wardline claim`: tokens that each let one device enrol, once.

use super::table::{Table, time};
use super::{Connection, parse_span, told};
use crate::front::now_us;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use wardline_proto::v1::{CreateClaimsRequest, CreateClaimsResponse, ListClaimsRequest, RevokeClaimsRequest};

/// Creates, lists and revokes claims.
#[derive(Debug, Args)]
pub struct ClaimCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make claims. Their tokens are told once: here, or in --out.
    #[command(
        after_help = "Example: wardline claim create --tenant st-mary --model wd-200 --count 50 --expires 24h --out tokens.txt --data-dir data"
    )]
    Create(Create),
    /// List claims, without their tokens.
    #[command(after_help = "Example: wardline claim list --tenant st-mary --batch spring --data-dir data")]
    List {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// Of this batch.
        #[arg(long, default_value = "")]
        batch: String,
        #[command(flatten)]
        on: Connection,
    },
    /// Take back the unused claims of a batch. Its certificates stay: see `wardline cert revoke --claim-batch`.
    #[command(after_help = "Example: wardline claim revoke --tenant st-mary --batch spring --data-dir data")]
    Revoke {
        /// Whose.
        #[arg(long)]
        tenant: String,
        /// Which batch.
        #[arg(long)]
        batch: String,
        #[command(flatten)]
        on: Connection,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// Tenant whose devices enrol with them.
    #[arg(long)]
    tenant: String,
    /// Model of the devices.
    #[arg(long, default_value = "")]
    model: String,
    /// The one device that may use it; with one claim only.
    #[arg(long, default_value = "")]
    device: String,
    /// How many.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Life, such as 24h or 7d.
    #[arg(long, default_value = "24h", value_parser = parse_span)]
    expires: Duration,
    /// Names them together, for revocation; the gateway names them when it is not given.
    #[arg(long, default_value = "")]
    batch: String,
    /// New file for the tokens, one a line, that only you may read.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    on: Connection,
}

impl ClaimCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create(create) => create.run().await?,
            Action::List { tenant, batch, on } => {
                let request = ListClaimsRequest { tenant, batch, page_size: 0 };
                let listed = on.client().await?.list_claims(request).await.map_err(told)?.into_inner();
                let columns = &["claim", "batch", "device", "model", "expires", "used", "used_by", "revoked"];
                let mut table = Table::new(columns);
                for claim in listed.claims {
                    let times = [claim.expires_at_us, claim.used_at_us, claim.revoked_at_us].map(time);
                    let [expires, used, revoked] = times;
                    table.row([
                        claim.claim_id.into(),
                        claim.batch.into(),
                        claim.device.into(),
                        claim.model.into(),
                        expires,
                        used,
                        claim.used_by_device.into(),
                        revoked,
                    ]);
                }
                on.show(&table)?;
            }
            Action::Revoke { tenant, batch, on } => {
                let request = RevokeClaimsRequest { tenant, batch: batch.clone() };
                let revoked =
                    on.client().await?.revoke_claims(request).await.map_err(told)?.into_inner().revoked;
                let object = json!({ "batch": batch, "revoked": revoked });
                on.done(&format!("{revoked} unused claims of batch {batch} revoked"), &object);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        // Opened first: tokens that could not be kept are not made.
        let file = self.out.as_deref().map(new_file).transpose()?;
        let life_us = i64::try_from(self.expires.as_micros()).unwrap_or(i64::MAX);
        let request = CreateClaimsRequest {
            tenant: self.tenant,
            batch: self.batch,
            model: self.model,
            device: self.device,
            count: self.count,
            expires_at_us: now_us().saturating_add(life_us),
        };
        let made = self.on.client().await?.create_claims(request).await.map_err(told)?.into_inner();
        let CreateClaimsResponse { batch, tokens, expires_at_us } = made;
        if let (Some(mut file), Some(path)) = (file, &self.out) {
            for claim in &tokens {
                writeln!(file, "{}", claim.token)?;
            }
            file.sync_all().with_context(|| format!("write {}", path.display()))?;
            let object = json!({ "batch": batch, "count": tokens.len(), "out": path });
            let count = tokens.len();
            self.on.done(&format!("{count} tokens of batch {batch} in {}", path.display()), &object);
            return Ok(());
        }
        let mut table = Table::new(&["claim", "batch", "expires", "token"]);
        for claim in tokens {
            table.row([claim.claim_id.into(), batch.clone().into(), time(expires_at_us), claim.token.into()]);
        }
        self.on.show(&table)
    }
}

fn new_file(path: &Path) -> anyhow::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("make {}", path.display()))
}
