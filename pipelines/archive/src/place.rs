//! Where the parts of a data directory lie: the database is a file in it, unless the settings name a server.
//!
//! Every program that is given a data directory finds the same database: the gateway, its commands, and queries. The
//! settings are those of `wardline.toml` in the directory; the environment goes before the file.

use crate::bucket::{BucketOptions, BucketSettings};
use crate::read::KEYRING;
use crate::transit::{Transit, TransitOptions, TransitSettings};
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wardline_journal::{KeyError, Keyring};
use wardline_store::{StoreError, StoreUrl};

/// Name of the settings in a data directory.
pub const SETTINGS: &str = "wardline.toml";
/// Name of the database in a data directory.
pub const DATABASE: &str = "wardline.db";
/// The variable that goes before `[store] url`.
pub const STORE_URL_ENV: &str = "WARDLINE_STORE_URL";

/// The section `[store]` of the settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    url: Option<Secret>,
    url_file: Option<PathBuf>,
}

/// A text that is not shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("...")
    }
}

/// Says why it is not known where something lies.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A file of the settings cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The settings are not usable.
    #[error("{}: {message}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The bucket of the archive.
    #[error("[archive.bucket] {0}")]
    Bucket(String),
    /// The key service.
    #[error("[keys.transit] {0}")]
    Transit(String),
    /// The URL of the database.
    #[error("[store] url or {STORE_URL_ENV}: {0}")]
    Url(StoreError),
}

/// What is wrong with a section `[store]`. What stands there is not shown: it may hold a password.
const STORE_FORM: &str = "[store] has url, or url_file with the name of a file that holds it";

/// Tells what is wrong with the form of the settings, without the text around it.
pub fn syntax_error(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

impl StoreSettings {
    /// Reads the section, when there is one.
    pub fn read(section: Option<toml::Value>) -> Result<Self, &'static str> {
        section.map_or(Ok(Self::default()), |value| value.try_into().map_err(|_it_shows_values| STORE_FORM))
    }

    /// Finds the database of a data directory: the environment's, else the settings', else the file in it.
    pub fn resolve(&self, data_dir: &Path) -> Result<StoreUrl, PlaceError> {
        let from_env = std::env::var(STORE_URL_ENV).ok().filter(|url| !url.is_empty());
        let url = match (from_env, &self.url, &self.url_file) {
            (Some(url), _, _) => url,
            (None, Some(url), _) => url.0.clone(),
            (None, None, Some(path)) => {
                let path = data_dir.join(path);
                std::fs::read_to_string(&path).map_err(|error| PlaceError::Read { path, error })?
            }
            (None, None, None) => return Ok(StoreUrl::file(data_dir.join(DATABASE))),
        };
        StoreUrl::postgres(url.trim()).map_err(PlaceError::Url)
    }
}

/// Opens the keyring of a data directory, with a key service when there is one.
pub fn keyring(data_dir: &Path, transit: Option<&TransitOptions>) -> Result<Keyring, KeyError> {
    let keyring = Keyring::open(&data_dir.join(KEYRING))?;
    match transit {
        Some(options) => Ok(keyring.with_service(Transit::shared(options.clone())?)),
        None => Ok(keyring),
    }
}

/// Where the parts of one data directory lie.
#[derive(Debug, Clone)]
pub struct Place {
    store: StoreUrl,
    bucket: Option<BucketOptions>,
    transit: Option<TransitOptions>,
}

/// Reads the section `[keys]`, when there is one: the key service of tenants' archives.
pub fn transit(section: Option<toml::Value>, data_dir: &Path) -> Result<Option<TransitOptions>, PlaceError> {
    #[derive(Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Keys {
        transit: Option<TransitSettings>,
    }
    let Some(section) = section else { return Ok(None) };
    let wrong = |error: toml::de::Error| PlaceError::Transit(error.message().to_owned());
    let Keys { transit } = section.try_into().map_err(wrong)?;
    transit.map(|settings| settings.resolve(data_dir)).transpose().map_err(PlaceError::Transit)
}

/// Reads the section `[archive.bucket]`, when there is one.
pub fn bucket(section: Option<toml::Value>, data_dir: &Path) -> Result<Option<BucketOptions>, PlaceError> {
    let Some(section) = section else { return Ok(None) };
    let settings: BucketSettings = section
        .try_into()
        .map_err(|error: toml::de::Error| PlaceError::Bucket(error.message().to_owned()))?;
    settings.resolve(data_dir).map(Some).map_err(PlaceError::Bucket)
}

impl Place {
    /// Reads the settings of a data directory; without any, everything lies in it.
    pub fn of(data_dir: &Path) -> Result<Self, PlaceError> {
        let path = data_dir.join(SETTINGS);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(PlaceError::Read { path, error }),
        };
        let wrong = |message: String| PlaceError::Settings { path: path.clone(), message };
        // The other sections are the gateway's business.
        let mut table: toml::Table = text.parse().map_err(|error| wrong(syntax_error(&text, &error)))?;
        let store = StoreSettings::read(table.remove("store")).map_err(|form| wrong(form.to_owned()))?;
        let section = table.remove("archive").and_then(|archive| archive.get("bucket").cloned());
        let transit = transit(table.remove("keys"), data_dir)?;
        Ok(Self { store: store.resolve(data_dir)?, bucket: bucket(section, data_dir)?, transit })
    }

    /// Returns where the database is.
    pub fn store(&self) -> &StoreUrl {
        &self.store
    }

    /// Opens the keyring of the data directory, with the key service that the settings name.
    pub fn keyring(&self, data_dir: &Path) -> Result<Keyring, KeyError> {
        keyring(data_dir, self.transit.as_ref())
    }

    /// Returns the key service that holds tenants' keys; none: they lie in the keyring.
    pub fn key_service(&self) -> Option<&TransitOptions> {
        self.transit.as_ref()
    }

    /// Returns the bucket that holds the archive's files; none: they lie in the data directory.
    pub fn bucket(&self) -> Option<&BucketOptions> {
        self.bucket.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_where_the_settings_say_and_no_error_shows_them() {
        let folder = tempfile::tempdir().unwrap();
        let with = |text: &str| {
            std::fs::write(folder.path().join(SETTINGS), text).unwrap();
            Place::of(folder.path()).map(|place| place.store().to_string())
        };
        let file = folder.path().join(DATABASE).display().to_string();
        assert_eq!(Place::of(folder.path()).unwrap().store().to_string(), file);
        assert_eq!(with("[listen]\nmqtt = 1\n").unwrap(), file, "what is not its own is not its business");
        let shown = "postgres://w@db:5432/ward";
        assert_eq!(with("[store]\nurl = \"postgres://w:s3cret@db/ward\"\n").unwrap(), shown);
        std::fs::write(folder.path().join("url"), "postgres://w:s3cret@db/ward\n").unwrap();
        assert_eq!(with("[store]\nurl_file = \"url\"\n").unwrap(), shown);
        for bad in [
            "[store]\nurl = \"mysql://w:s3cret@db/ward\"\n",
            "[store]\nurl_file = \"none\"\n",
            "[store]\nadress = \"postgres://w:s3cret@db/ward\"\n",
            "[store]\nurl = \"postgres://w:s3cret@db/ward\n",
            "store = \"postgres://w:s3cret@db/ward\"\n",
            "[store]\nurl = [\"s3cret\"]\n",
        ] {
            let error = with(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
