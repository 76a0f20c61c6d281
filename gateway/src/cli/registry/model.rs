//! `wardline model`.

use super::table::{Table, time};
use super::{Connection, told};
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use wardline_proto::v1::{ListModelsRequest, Model, PutModelRequest};

/// Registers and lists models of devices.
#[derive(Debug, Args)]
pub struct ModelCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a model, or give it a newer profile.
    #[command(
        after_help = "Example: wardline model create wd-200 --maker acme --profile wd-200.toml --profile-version 3 --data-dir data"
    )]
    Create {
        /// Its id, of all makers.
        model: String,
        /// The tenant that makes it.
        #[arg(long)]
        maker: String,
        /// For people; the id when it is not given.
        #[arg(long)]
        name: Option<String>,
        /// File with its profile.
        #[arg(long, value_name = "FILE", requires = "profile_version")]
        profile: Option<PathBuf>,
        /// Version of the profile; it rises with the text.
        #[arg(long, default_value_t = 0)]
        profile_version: i64,
        #[command(flatten)]
        on: Connection,
    },
    /// List models.
    #[command(after_help = "Example: wardline model list --maker acme --data-dir data")]
    List {
        /// Of this maker.
        #[arg(long, default_value = "")]
        maker: String,
        #[command(flatten)]
        on: Connection,
    },
}

impl ModelCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Create { model, maker, name, profile, profile_version, on } => {
                let read = |path: PathBuf| {
                    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
                };
                let profile = profile.map(read).transpose()?.unwrap_or_default();
                let display_name = name.unwrap_or_else(|| model.clone());
                let id = model.clone();
                let model = Model { model, maker, display_name, profile, profile_version, created_at_us: 0 };
                let request = PutModelRequest { model: Some(model) };
                on.client().await?.put_model(request).await.map_err(told)?;
                on.done(&format!("model {id} is registered"), &json!({ "model": id }));
            }
            Action::List { maker, on } => {
                let listed =
                    on.client().await?.list_models(ListModelsRequest { maker }).await.map_err(told)?;
                let mut table = Table::new(&["model", "maker", "name", "profile_version", "created"]);
                for model in listed.into_inner().models {
                    let created = time(model.created_at_us);
                    let Model { model, maker, display_name, profile_version, .. } = model;
                    table.row([
                        model.into(),
                        maker.into(),
                        display_name.into(),
                        profile_version.into(),
                        created,
                    ]);
                }
                on.show(&table)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
