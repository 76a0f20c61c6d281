//! From flags, environment and file to [`AgentOptions`]. Pure: reads nothing, binds nothing, collects every error.

use super::{RunArgs, file};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use wardline_edge::{
    AgentOptions, ClockSync, FrontAddr, KEEP_ALIVE_MIN, SERVER_PORT_DEFAULT, SPOOL_BYTES_MIN,
};

const ENV_PREFIX: &str = "WARDLINE_EDGE_";
/// Largest window: the gateway takes 64 in flight from one session.
const IN_FLIGHT_MAX: u16 = 60;
/// Longest time that what was acknowledged stays: a month.
const KEEP_ACKED_HOURS_MAX: u64 = 31 * 24;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Flag, variable or file entry.
    pub(crate) source: String,
    pub(crate) problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.problem)
    }
}

/// What the agent is told.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) agent: AgentOptions,
}

impl Config {
    /// Reads everything and returns every error at once.
    pub(crate) fn load(
        args: &RunArgs,
        env: &BTreeMap<String, String>,
        file_text: Option<&str>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut values = Values::new(args, env, file_text);
        let (certs, spool) = (values.required("certs"), values.required("spool"));
        let mut agent = AgentOptions::new(values.server(), certs, spool);
        values.set("link", &mut agent.link, |_| Ok(()));
        values.set("spool_bytes_max", &mut agent.spool_bytes_max, at_least(SPOOL_BYTES_MIN));
        let mut keep_acked_hours = agent.keep_acked.as_secs() / 3_600;
        values.set("keep_acked_hours", &mut keep_acked_hours, |hours| match hours {
            0..=KEEP_ACKED_HOURS_MAX => Ok(()),
            _ => Err(format!("must be 0 to {KEEP_ACKED_HOURS_MAX}")),
        });
        agent.keep_acked = Duration::from_secs(keep_acked_hours * 3_600);
        values.set("keep_acked_bytes_max", &mut agent.keep_acked_bytes_max, |_| Ok(()));
        values.set("in_flight_max", &mut agent.in_flight_max, |n| match n {
            1..=IN_FLIGHT_MAX => Ok(()),
            _ => Err(format!("must be 1 to {IN_FLIGHT_MAX}")),
        });
        values.seconds("keep_alive_s", &mut agent.keep_alive, KEEP_ALIVE_MIN.as_secs());
        values.seconds("ack_timeout_s", &mut agent.ack_timeout, 1);
        values.millis("backoff_min_ms", &mut agent.backoff.delay_min);
        values.millis("backoff_max_ms", &mut agent.backoff.delay_max);
        if agent.backoff.delay_min > agent.backoff.delay_max {
            values.error("backoff_min_ms", "must not be greater than backoff_max_ms");
        }
        if let Some(sync) = values.take("clock_sync") {
            match sync.as_str() {
                "auto" => agent.clock.sync = ClockSync::Auto,
                "none" => agent.clock.sync = ClockSync::None,
                "ntp" => agent.clock.sync = ClockSync::Ntp,
                _ => values.error("clock_sync", "must be auto, none or ntp"),
            }
        }
        values.set("clock_uncertainty_us", &mut agent.clock.uncertainty_us, |_| Ok(()));
        if values.errors.is_empty() { Ok(Self { agent }) } else { Err(values.errors) }
    }
}

/// Values by name, each with the place that it came from.
struct Values {
    found: BTreeMap<&'static str, (String, String)>,
    errors: Vec<ConfigError>,
}

impl Values {
    fn new(args: &RunArgs, env: &BTreeMap<String, String>, file_text: Option<&str>) -> Self {
        let mut values = Self { found: BTreeMap::new(), errors: Vec::new() };
        match file_text.map_or_else(|| Ok(BTreeMap::new()), file::parse) {
            Ok(entries) => {
                for (name, value) in entries {
                    values.found.insert(name, (format!("{name} in the file"), value));
                }
            }
            Err(problem) => values.errors.push(ConfigError { source: "configuration file".into(), problem }),
        }
        let flags = flags(args);
        values.overlay_env(env, &flags.map(|(name, _)| name));
        for (name, value) in flags {
            if let Some(value) = value {
                values.found.insert(name, (format!("--{}", name.replace('_', "-")), value.clone()));
            }
        }
        values
    }

    fn overlay_env(&mut self, env: &BTreeMap<String, String>, names: &[&'static str]) {
        for (variable, value) in env {
            let Some(name) = variable.strip_prefix(ENV_PREFIX) else { continue };
            match names.iter().find(|known| known.to_uppercase() == name) {
                Some(known) => {
                    self.found.insert(known, (variable.clone(), value.clone()));
                }
                None => {
                    self.errors.push(ConfigError { source: variable.clone(), problem: "is unknown".into() })
                }
            }
        }
    }

    fn take(&self, name: &str) -> Option<String> {
        self.found.get(name).map(|(_, value)| value.clone())
    }

    fn error(&mut self, name: &str, problem: impl Into<String>) {
        let source = self.found.get(name).map_or_else(|| name.to_owned(), |(source, _)| source.clone());
        self.errors.push(ConfigError { source, problem: problem.into() });
    }

    fn required(&mut self, name: &'static str) -> String {
        let value = self.take(name).filter(|value| !value.is_empty());
        value.unwrap_or_else(|| {
            let flag = format!("--{name}");
            self.errors.push(ConfigError { source: flag, problem: "is missing".into() });
            String::new()
        })
    }

    /// Reads HOST or HOST:PORT; `None` leaves it to the list of fronts.
    fn server(&mut self) -> Option<FrontAddr> {
        let server = self.take("server").filter(|server| !server.is_empty())?;
        let has_port = server.contains(':');
        let full = if has_port { server.clone() } else { format!("{server}:{SERVER_PORT_DEFAULT}") };
        full.parse().map_err(|problem| self.error("server", problem)).ok()
    }

    fn set<T: FromStr>(&mut self, name: &str, slot: &mut T, check: impl Fn(&T) -> Result<(), String>)
    where
        T::Err: fmt::Display,
    {
        let Some(text) = self.take(name) else { return };
        let parsed = text.parse::<T>().map_err(|error| format!("{text}: {error}"));
        match parsed.and_then(|value| check(&value).map(|()| value)) {
            Ok(value) => *slot = value,
            Err(problem) => self.error(name, problem),
        }
    }

    fn seconds(&mut self, name: &str, slot: &mut Duration, min: u64) {
        let mut seconds = slot.as_secs();
        self.set(name, &mut seconds, at_least(min));
        *slot = Duration::from_secs(seconds);
    }

    fn millis(&mut self, name: &str, slot: &mut Duration) {
        let mut millis = slot.as_millis() as u64;
        self.set(name, &mut millis, at_least(1));
        *slot = Duration::from_millis(millis);
    }
}

fn at_least(min: u64) -> impl Fn(&u64) -> Result<(), String> {
    move |value| if *value >= min { Ok(()) } else { Err(format!("must be at least {min}")) }
}

fn flags(args: &RunArgs) -> [(&'static str, &Option<String>); 14] {
    [
        ("server", &args.server),
        ("certs", &args.certs),
        ("spool", &args.spool),
        ("link", &args.link),
        ("spool_bytes_max", &args.spool_bytes_max),
        ("keep_acked_hours", &args.keep_acked_hours),
        ("keep_acked_bytes_max", &args.keep_acked_bytes_max),
        ("in_flight_max", &args.in_flight_max),
        ("keep_alive_s", &args.keep_alive_s),
        ("ack_timeout_s", &args.ack_timeout_s),
        ("backoff_min_ms", &args.backoff_min_ms),
        ("backoff_max_ms", &args.backoff_max_ms),
        ("clock_sync", &args.clock_sync),
        ("clock_uncertainty_us", &args.clock_uncertainty_us),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn load(args: RunArgs, env: &[(&str, &str)], file: &str) -> Result<AgentOptions, Vec<String>> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let loaded = Config::load(&args, &env, Some(file)).map(|config| config.agent);
        loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let args = RunArgs { server: text("flag:1"), ..RunArgs::default() };
        let env = [("WARDLINE_EDGE_SERVER", "env:2"), ("WARDLINE_EDGE_SPOOL", "/env"), ("HOME", "/root")];
        let file = "server = 'file:3'\nspool = '/file'\ncerts = '/certs'\nbackoff_max_ms = 5000\n";
        let options = load(args, &env, file).unwrap();
        assert_eq!(options.server, Some(FrontAddr { host: "flag".to_owned(), port: 1 }));
        assert_eq!(options.spool_dir.to_str(), Some("/env"));
        assert_eq!(options.certs_dir.to_str(), Some("/certs"));
        assert_eq!(options.backoff.delay_max, Duration::from_secs(5));
    }

    #[test]
    fn every_error_is_found_at_once() {
        let args = RunArgs {
            server: text("host:99999"),
            link: text("serial:///dev/ttyS0"),
            in_flight_max: text("0"),
            keep_alive_s: text("2"),
            clock_sync: text("sundial"),
            ..RunArgs::default()
        };
        let errors = load(args, &[("WARDLINE_EDGE_SPOL", "x")], "backoff_min_ms = 100000").unwrap_err();
        for expected in [
            "WARDLINE_EDGE_SPOL: is unknown",
            "--certs: is missing",
            "--spool: is missing",
            "--server: host:99999 is not HOST:PORT",
            "--link: serial:///dev/ttyS0: a link is tcp://IP:PORT or unix:///PATH",
            "--in-flight-max: must be 1 to 60",
            "--keep-alive-s: must be at least 5",
            "backoff_min_ms in the file: must not be greater than backoff_max_ms",
            "--clock-sync: must be auto, none or ntp",
        ] {
            assert!(errors.iter().any(|error| error == expected), "{expected} is not in {errors:#?}");
        }
        assert_eq!(errors.len(), 9);
    }

    #[test]
    fn an_unknown_name_in_the_file_is_an_error() {
        let errors = load(RunArgs::default(), &[], "serever = 'x'").unwrap_err();
        assert!(errors[0].contains("serever"), "{errors:?}");
    }
}
