//! The topic grammar: `wl/1/{tenant}/{device}/up/{channel}` and `.../down/{channel}`.
//!
//! A device never chooses a topic: both directions are derived from its certificate (SEC-1).

use crate::ids::DeviceKey;
use crate::v1::{Lane, UpChannel};

/// The channels that a device publishes on, with their last topic level.
pub const UP_CHANNELS: [(UpChannel, &str); 4] = [
    (UpChannel::Telemetry, "telemetry"),
    (UpChannel::Alarm, "alarm"),
    (UpChannel::Event, "event"),
    (UpChannel::Response, "response"),
];

/// The channels that a device may subscribe to.
pub const DOWN_CHANNELS: [&str; 3] = ["command", "desired", "notice"];

/// Returns the topic of `channel` for `key`; `None` for the unspecified channel.
pub fn up(key: &DeviceKey, channel: UpChannel) -> Option<String> {
    let level = UP_CHANNELS.iter().find(|(c, _)| *c == channel)?.1;
    Some(format!("wl/1/{}/{}/up/{level}", key.tenant, key.device))
}

/// Returns the topic of a down channel for `key`.
pub fn down(key: &DeviceKey, channel: &str) -> String {
    format!("wl/1/{}/{}/down/{channel}", key.tenant, key.device)
}

/// Reads a publish topic of `key`. `None` when it is any other topic: no prefix, wildcard or alias is honoured.
pub fn parse_up(key: &DeviceKey, topic: &[u8]) -> Option<UpChannel> {
    let rest = strip(topic, b"wl/1/")?;
    let rest = strip(strip(rest, key.tenant.as_str().as_bytes())?, b"/")?;
    let rest = strip(strip(rest, key.device.as_str().as_bytes())?, b"/up/")?;
    UP_CHANNELS.iter().find(|(_, level)| level.as_bytes() == rest).map(|(channel, _)| *channel)
}

/// Says whether `filter` is one of `key`'s own down topics, or `down/+` or `down/#` under its own prefix.
pub fn may_subscribe(key: &DeviceKey, filter: &str) -> bool {
    let prefix = format!("wl/1/{}/{}/down/", key.tenant, key.device);
    filter
        .strip_prefix(&prefix)
        .is_some_and(|last| matches!(last, "+" | "#") || DOWN_CHANNELS.contains(&last))
}

/// Says whether frames of `lane` belong on `channel`.
pub fn carries(channel: UpChannel, lane: Lane) -> bool {
    match lane {
        Lane::Alarm => channel == UpChannel::Alarm,
        Lane::Numerics | Lane::Waveforms => channel == UpChannel::Telemetry,
        Lane::Events => matches!(channel, UpChannel::Event | UpChannel::Response),
        Lane::Unspecified => false,
    }
}

fn strip<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    bytes.strip_prefix(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeviceId, TenantId};

    fn key() -> DeviceKey {
        DeviceKey { tenant: TenantId::new("demo").unwrap(), device: DeviceId::new("mon-1").unwrap() }
    }

    #[test]
    fn own_topics_round_trip() {
        for (channel, _) in UP_CHANNELS {
            assert_eq!(parse_up(&key(), up(&key(), channel).unwrap().as_bytes()), Some(channel));
        }
    }

    #[test]
    fn other_topics_are_none() {
        for bad in [
            "wl/1/demo/mon-2/up/telemetry",
            "wl/1/demo/mon-1/up/telemetry/",
            "wl/1/demo/mon-1/down/command",
            "wl/1/demo/mon-10/up/telemetry",
            "wl/2/demo/mon-1/up/telemetry",
            "/wl/1/demo/mon-1/up/telemetry",
            "$SYS/broker",
            "",
        ] {
            assert_eq!(parse_up(&key(), bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn subscriptions_stay_below_own_down() {
        assert!(may_subscribe(&key(), "wl/1/demo/mon-1/down/command"));
        assert!(may_subscribe(&key(), "wl/1/demo/mon-1/down/#"));
        for bad in
            ["#", "wl/1/demo/+/down/command", "wl/1/demo/mon-2/down/#", "wl/1/demo/mon-1/up/#", "wl/1/#"]
        {
            assert!(!may_subscribe(&key(), bad), "{bad}");
        }
    }
}
