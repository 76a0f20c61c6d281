//! Who the device says that it is: certificate, client id, TLS, topics.

use super::Verdict;
use crate::conform::hello::TlsVersion;
use crate::conform::seen::Seen;
use wardline_proto::refusal::Refusal;

pub(super) fn certificate(seen: &Seen) -> Verdict {
    let refusals = [
        Refusal::IdentityMissing,
        Refusal::IdentityRevoked,
        Refusal::IdentityExpired,
        Refusal::IdentityUnknown,
    ];
    let refused: Vec<String> = refusals
        .iter()
        .filter(|r| seen.refused(r.code()) > 0)
        .map(|r| format!("{} {}", seen.refused(r.code()), r.code()))
        .collect();
    let other = seen.sessions.iter().filter(|s| s.serial != seen.serial).count();
    let (sessions, serial) = (seen.sessions.len(), &seen.serial);
    if sessions == 0 {
        return Verdict::fail(format!(
            "no session in {} connections; refused: [{}]",
            seen.lines.len(),
            refused.join(", ")
        ));
    }
    let evidence = format!(
        "{sessions} sessions, {other} with another certificate than {serial}, refused: [{}]",
        refused.join(", ")
    );
    Verdict::when(other == 0 && refused.is_empty(), evidence)
}

pub(super) fn client_id(seen: &Seen) -> Verdict {
    let code = Refusal::IdentityClientId.code();
    let refused = seen.refused(code);
    if refused == 0 && seen.sessions.is_empty() {
        return Verdict::not_observed("no session");
    }
    Verdict::when(
        refused == 0,
        format!("{} sessions opened, {refused} refused with {code}", seen.sessions.len()),
    )
}

fn versions(seen: &Seen) -> Vec<TlsVersion> {
    seen.lines.iter().filter_map(|line| line.tls).collect()
}

pub(super) fn tls(seen: &Seen) -> Verdict {
    let versions = versions(seen);
    let tried = seen.lines.iter().filter(|line| !line.refused).count();
    match versions.iter().min() {
        Some(least) => Verdict::pass(format!("{least} or better in {} handshakes", versions.len())),
        None if tried == 0 => Verdict::not_observed("no connection"),
        None => Verdict::fail(format!("no version in common with the gateway in {tried} connections")),
    }
}

pub(super) fn tls13(seen: &Seen) -> Verdict {
    let versions = versions(seen);
    let old = versions.iter().filter(|version| **version != TlsVersion::V13).count();
    if versions.is_empty() {
        return Verdict::not_observed("no handshake");
    }
    Verdict::when(old == 0, format!("{} of {} handshakes in TLS 1.3", versions.len() - old, versions.len()))
}

pub(super) fn topics(seen: &Seen) -> Verdict {
    let topic = seen.refused(Refusal::TopicNotAuthorized.code());
    let lane = seen.refused(Refusal::FrameHeader.code());
    let accepted = seen.frames.len() as u64 + seen.json;
    if accepted + topic + lane == 0 {
        return Verdict::not_observed("no publish");
    }
    let evidence = format!(
        "{accepted} publishes accepted, {topic} refused for their topic ({}), {lane} for their lane ({})",
        Refusal::TopicNotAuthorized,
        Refusal::FrameHeader
    );
    Verdict::when(topic + lane == 0, evidence)
}
