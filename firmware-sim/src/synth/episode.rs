//! Scripted episodes: `KIND[=LEVEL]@START+DURATION`, such as `desaturation@20s+30s` or `tachycardia=170@2m+45s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What goes wrong in an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EpisodeKind {
    /// SpO2 falls towards the level, in percent; the heart answers.
    Desaturation,
    /// Heart rate rises to the level, per minute.
    Tachycardia,
    /// Heart rate falls to the level, per minute.
    Bradycardia,
    /// The oximeter's probe is off: no PLETH, SpO2 or pulse rate, and a technical alarm.
    ProbeOff,
}

impl EpisodeKind {
    const ALL: [(Self, &'static str, f64); 4] = [
        (Self::Desaturation, "desaturation", 82.0),
        (Self::Tachycardia, "tachycardia", 150.0),
        (Self::Bradycardia, "bradycardia", 38.0),
        (Self::ProbeOff, "probe_off", 0.0),
    ];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }
}

/// One scripted episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// What goes wrong.
    pub kind: EpisodeKind,
    /// Where it leads to: percent for a desaturation, per minute for the heart.
    pub level: f64,
    /// When it begins, since the source's start.
    pub start: Duration,
    /// How long it lasts.
    pub duration: Duration,
}

impl Episode {
    /// Says whether the episode is on at `seconds` since the source's start.
    pub fn is_on(&self, seconds: f64) -> bool {
        let start = self.start.as_secs_f64();
        seconds >= start && seconds < start + self.duration.as_secs_f64()
    }
}

/// Says why a text is no episode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "an episode is KIND[=LEVEL]@START+DURATION, KIND one of desaturation, tachycardia, bradycardia, probe_off"
)]
pub struct EpisodeError;

impl FromStr for Episode {
    type Err = EpisodeError;

    fn from_str(text: &str) -> Result<Self, EpisodeError> {
        let (what, when) = text.split_once('@').ok_or(EpisodeError)?;
        let (start, duration) = when.split_once('+').ok_or(EpisodeError)?;
        let (name, level) = what.split_once('=').map_or((what, None), |(n, l)| (n, Some(l)));
        let row = EpisodeKind::ALL.iter().find(|(_, known, _)| *known == name).ok_or(EpisodeError)?;
        let level = level.map_or(Ok(row.2), str::parse).map_err(|_| EpisodeError)?;
        let start = parse_duration(start).ok_or(EpisodeError)?;
        let duration = parse_duration(duration).ok_or(EpisodeError)?;
        let plausible = (0.0..=300.0).contains(&level);
        if plausible { Ok(Self { kind: row.0, level, start, duration }) } else { Err(EpisodeError) }
    }
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, duration) = (self.start.as_secs_f64(), self.duration.as_secs_f64());
        write!(f, "{}={}@{start}s+{duration}s", self.kind.name(), self.level)
    }
}

/// Reads a duration such as `250ms`, `90s`, `1.5m`, `2h`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (value, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(value.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syntax_round_trips() {
        let episode: Episode = "desaturation@20s+1.5m".parse().unwrap();
        assert_eq!((episode.kind, episode.level), (EpisodeKind::Desaturation, 82.0));
        assert_eq!((episode.start.as_secs(), episode.duration.as_secs()), (20, 90));
        assert!(episode.is_on(20.0) && episode.is_on(109.9) && !episode.is_on(110.0));
        assert_eq!(episode.to_string().parse(), Ok(episode));
        assert_eq!("tachycardia=170@2m+45".parse::<Episode>().unwrap().level, 170.0);
    }

    #[test]
    fn what_is_no_episode_is_refused() {
        for bad in [
            "",
            "desaturation",
            "desaturation@20s",
            "x@1s+1s",
            "desaturation@-1s+1s",
            "probe_off@1y+1s",
            "tachycardia=nan@1s+1s",
        ] {
            assert_eq!(bad.parse::<Episode>(), Err(EpisodeError), "{bad}");
        }
    }
}
