//! Where the bus is: the section `[cluster]` of a data directory's `wardline.toml`, as far as a reader needs it.

use anyhow::Context;
use serde::Deserialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wardline_archive::place::{SETTINGS, syntax_error};
use wardline_bus::{EngineName, ServerTls, Servers};

/// The rest of it is the gateway's business.
#[derive(Deserialize)]
struct Cluster {
    engine: Engine,
    servers: Vec<String>,
    tls: Option<Tls>,
    #[serde(default = "topic")]
    topic: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    Jetstream,
    Fluvio,
}

#[derive(Deserialize)]
struct Tls {
    authority: PathBuf,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The topic of a gateway that is told none.
fn topic() -> String {
    wardline_bus::Topic::default().name
}

/// Returns the servers and the topic; none where the settings name no bus.
pub(super) fn servers(data_dir: &Path) -> anyhow::Result<Option<(Servers, String)>> {
    let path = data_dir.join(SETTINGS);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let table: Result<toml::Table, _> = text.parse();
    let mut table =
        table.map_err(|error| anyhow::anyhow!("{}: {}", path.display(), syntax_error(&text, &error)))?;
    let Some(section) = table.remove("cluster") else { return Ok(None) };
    let wrong = |error: toml::de::Error| anyhow::anyhow!("{}: [cluster] {}", path.display(), error.message());
    let Cluster { engine, servers, tls, topic } = section.try_into().map_err(wrong)?;
    let engine = match engine {
        Engine::Jetstream => EngineName::JetStream,
        Engine::Fluvio => EngineName::Fluvio,
    };
    let tls = tls.map(|tls| ServerTls { authority: tls.authority, identity: tls.certificate.zip(tls.key) });
    Ok(Some((Servers { engine, at: servers, tls, reads_alone: true }, topic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_read_where_the_settings_name_one_and_nothing_else_of_them_matters() {
        let folder = tempfile::tempdir().unwrap();
        let with = |text: &str| {
            std::fs::write(folder.path().join(SETTINGS), text).unwrap();
            servers(folder.path())
        };
        assert!(servers(folder.path()).unwrap().is_none());
        assert!(with("[store]\nurl = 1\n").unwrap().is_none());
        let known = "[cluster]\nengine = \"jetstream\"\nservers = [\"nats://a:1\"]\nlease_ms = 5\nnew = 1\n";
        let (servers, topic) = with(known).unwrap().unwrap();
        assert_eq!((servers.engine, &topic[..]), (EngineName::JetStream, "wardline-records"));
        assert_eq!(
            (servers.at, servers.tls, servers.reads_alone),
            (vec!["nats://a:1".to_owned()], None, true)
        );
        let tls = "topic = \"t\"\ntls = { authority = \"a\", certificate = \"c\", key = \"k\" }\n";
        let (servers, topic) = with(&format!("{known}{tls}")).unwrap().unwrap();
        assert_eq!((servers.tls.unwrap().identity, &topic[..]), (Some(("c".into(), "k".into())), "t"));
        assert!(with("[cluster]\nengine = \"kafka\"\nservers = []\n").is_err());
    }
}
