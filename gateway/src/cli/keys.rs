//! `wardline keys`: the master keys of the archive are listed, made, renewed and destroyed.

use super::time_text;
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wardline_archive::place::Place;
use wardline_archive::read::{audit_read, local_actor};
use wardline_journal::{KeyInfo, KeyPurpose, KeyState, Keyring};
use wardline_proto::TenantId;
use wardline_proto::refusal::Refusal;
use wardline_store::Store;
use wardline_store::registry::Change;

/// The keys that a tenant's archive is under.
const ARCHIVE: [KeyPurpose; 3] = [KeyPurpose::Footer, KeyPurpose::Identifiers, KeyPurpose::Measurements];

const AFTER_HELP: &str = "\
Works on keyring.json of the data directory and the key service that its settings name, beside a running gateway, which sees each change at its next use of a key.

Examples:
  wardline keys list --data-dir data
  wardline keys rotate --tenant st-mary --data-dir data
  wardline keys hold --tenant st-mary --reason 'case 17' --data-dir data";

const ROTATE_HELP: &str = "\
New files are under the new version; what is written stays as it is and readable: earlier versions unwrap only, until
small files are merged into new ones. No data is rewritten by this command.";

const SHRED_HELP: &str = "\
Destroys every master key of the tenant's archive. All that the archive holds of it, in every copy of its files, is unreadable
from then on. There is no way back but a copy of keyring.json: destroy those too. Asks for the tenant's name on
standard input. Refused under a legal hold. Recorded in the audit trail before and after.

It does not reach what is not yet archived (journal, spools), alerts (their key, `state`, stays), nor exports. A running gateway forgets keys that
it has unwrapped within ten minutes.";

/// Lists, makes, renews and destroys master keys; sets and releases legal holds.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct KeysCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Args)]
struct On {
    /// Whose keys.
    #[arg(long)]
    tenant: TenantId,
    /// The gateway's data directory.
    #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
    data_dir: PathBuf,
}

/// What a key of a tenant's archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Who a row is about.
    Identifiers,
    /// What was measured.
    Measurements,
    /// Footers of files.
    Footer,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List keys without the keys themselves, and legal holds.
    List {
        /// Only of this tenant.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// The gateway's data directory.
        #[arg(long, value_name = "DIR", env = "WARDLINE_DATA_DIR")]
        data_dir: PathBuf,
    },
    /// Make a tenant's keys ahead of its first file.
    Create {
        #[command(flatten)]
        on: On,
    },
    /// Make a new version for what is written from now on.
    #[command(after_help = ROTATE_HELP)]
    Rotate {
        #[command(flatten)]
        on: On,
        /// Only the key of this purpose; all three when it is not given.
        #[arg(long, value_enum)]
        purpose: Option<Purpose>,
    },
    /// Make a tenant's archive unreadable, for good.
    #[command(after_help = SHRED_HELP)]
    Shred {
        #[command(flatten)]
        on: On,
        /// Say that you mean it; the tenant's name is asked for as well.
        #[arg(long)]
        yes: bool,
    },
    /// Forbid that a tenant's keys are destroyed.
    Hold {
        #[command(flatten)]
        on: On,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Take a legal hold away.
    Release {
        #[command(flatten)]
        on: On,
    },
}

impl KeysCommand {
    /// Runs the command.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::List { tenant, json, data_dir } => list(tenant.as_ref(), json, &data_dir).await?,
            Action::Create { on } => create(&on).await?,
            Action::Rotate { on, purpose } => rotate(&on, purpose).await?,
            Action::Shred { on, yes } => shred(&on, yes).await?,
            Action::Hold { on, reason } => {
                on.store().await?.set_hold(&change(), &on.tenant, &reason).await?;
                println!("nothing of {} is destroyed while the hold stands", on.tenant);
            }
            Action::Release { on } => {
                on.store().await?.release_hold(&change(), &on.tenant).await?;
                println!("the hold on {} is released", on.tenant);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl On {
    async fn store(&self) -> anyhow::Result<Store> {
        let place = self.data_dir.display();
        let store = Place::of(&self.data_dir)?.store().open_existing().await;
        store.with_context(|| format!("open the database of {place}"))
    }

    fn keyring(&self) -> anyhow::Result<Keyring> {
        keyring(&self.data_dir)
    }
}

fn change() -> Change {
    Change::new(local_actor(), crate::front::now_us())
}

fn keyring(data_dir: &Path) -> anyhow::Result<Keyring> {
    let keyring = Place::of(data_dir)?.keyring(data_dir);
    keyring.with_context(|| format!("open the keys of {}", data_dir.display()))
}

fn word(purpose: KeyPurpose) -> &'static str {
    match purpose {
        KeyPurpose::Journal => "journal",
        KeyPurpose::State => "state",
        KeyPurpose::Identifiers => "identifiers",
        KeyPurpose::Measurements => "measurements",
        KeyPurpose::Footer => "footer",
    }
}

fn state(key: &KeyInfo) -> &'static str {
    match key.state {
        KeyState::Active => "active",
        KeyState::Retired => "unwraps only",
    }
}

async fn list(tenant: Option<&TenantId>, as_json: bool, data_dir: &Path) -> anyhow::Result<()> {
    let store = Place::of(data_dir)?.store().open_read_only().await?;
    let holds: BTreeMap<_, _> = store.holds().await?.into_iter().map(|h| (h.tenant.clone(), h)).collect();
    let shredded = store.shredded().await?;
    let mut keys = keyring(data_dir)?.list();
    keys.retain(|key| tenant.is_none() || key.tenant.as_ref() == tenant);
    keys.sort_by_key(|key| (key.tenant.clone(), word(key.purpose), key.version));
    if as_json {
        let of = |key: &KeyInfo| key.tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
        let keys: Vec<_> = keys
            .iter()
            .map(|key| json!({"id": key.id.as_str(), "tenant": of(key), "purpose": word(key.purpose), "version": key.version, "state": state(key), "created": time_text(key.created_at_us)}))
            .collect();
        let holds: Vec<_> =
            holds.values().map(|hold| json!({"tenant": hold.tenant, "reason": hold.reason})).collect();
        println!("{}", json!({"keys": keys, "holds": holds, "shredded": shredded}));
        return Ok(());
    }
    println!("{:<20} {:<13} {:>7} {:<13} {:<20} created", "tenant", "purpose", "version", "state", "id");
    for key in &keys {
        let tenant = key.tenant.as_ref().map_or("-", TenantId::as_str);
        let (purpose, created) = (word(key.purpose), time_text(key.created_at_us));
        println!("{tenant:<20} {purpose:<13} {:>7} {:<13} {:<20} {created}", key.version, state(key), key.id);
    }
    for hold in holds.values() {
        println!("legal hold on {} since {}: {}", hold.tenant, time_text(hold.set_at_us), hold.reason);
    }
    shredded.iter().for_each(|tenant| println!("shredded: {tenant}"));
    Ok(())
}

async fn create(on: &On) -> anyhow::Result<()> {
    let keyring = on.keyring()?;
    // Told before they are made: the gateway tells the audit of each key by its id as well.
    audit_read(&on.data_dir, "keys_created", on.tenant.as_str()).await?;
    for purpose in ARCHIVE {
        println!("{} {}", word(purpose), keyring.ensure(purpose, Some(&on.tenant))?);
    }
    Ok(())
}

async fn rotate(on: &On, purpose: Option<Purpose>) -> anyhow::Result<()> {
    let keyring = on.keyring()?;
    let purposes = match purpose {
        None => ARCHIVE.to_vec(),
        Some(Purpose::Identifiers) => vec![KeyPurpose::Identifiers],
        Some(Purpose::Measurements) => vec![KeyPurpose::Measurements],
        Some(Purpose::Footer) => vec![KeyPurpose::Footer],
    };
    let known = keyring.list();
    ensure!(
        known.iter().any(|key| key.tenant.as_ref() == Some(&on.tenant)),
        "{} has no key yet: `wardline keys create` makes them",
        on.tenant
    );
    let words: Vec<_> = purposes.iter().map(|purpose| word(*purpose)).collect();
    audit_read(&on.data_dir, "keys_rotated", &format!("{} {}", on.tenant, words.join(","))).await?;
    for purpose in purposes {
        println!("{} {}", word(purpose), keyring.rotate(purpose, Some(&on.tenant))?);
    }
    println!("what is written from now on is under these; what is written stays readable");
    Ok(())
}

async fn shred(on: &On, yes: bool) -> anyhow::Result<()> {
    let keyring = on.keyring()?;
    let is_own = |key: &&KeyInfo| key.tenant.as_ref() == Some(&on.tenant) && key.purpose.is_of_archive();
    let own = keyring.list().iter().filter(is_own).count();
    ensure!(own > 0, "{} has no key", on.tenant);
    ensure!(yes, "this destroys {own} keys of {} for good: say --yes if you mean it", on.tenant);
    if std::io::stdin().is_terminal() {
        eprint!("type the tenant's name to make its archive unreadable for good: ");
        std::io::stderr().flush()?;
    }
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed)?;
    ensure!(
        typed.trim() == on.tenant.as_str(),
        "{:?} is not {}: nothing was destroyed",
        typed.trim(),
        on.tenant
    );
    let store = on.store().await?;
    if !store.begin_shred(&change(), &on.tenant).await? {
        bail!("{}: {} is under legal hold: nothing was destroyed", Refusal::ErasureHeld, on.tenant);
    }
    let gone: Vec<_> = keyring.shred(&on.tenant)?.iter().map(|key| key.as_str().to_owned()).collect();
    store.finish_shred(&change(), &on.tenant, &gone).await?;
    println!("{} keys of {} are destroyed: {}", gone.len(), on.tenant, gone.join(" "));
    Ok(())
}
