//! Where a device of a fleet connects.

use rustls_pki_types::ServerName;

/// The port of a server reference that names none.
const PORT: u16 = 8883;

/// A front: its address, and the name that its certificate proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) address: String,
    pub(super) name: ServerName<'static>,
}

impl Front {
    /// Reads `HOST:PORT`; the certificate's name is the host unless another is given. None when there is no such name.
    pub(super) fn new(address: &str, name: Option<&str>) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let _port: u16 = port.parse().ok()?;
        let name = ServerName::try_from(name.unwrap_or(host.trim_matches(['[', ']'])).to_owned()).ok()?;
        Some(Self { address: address.to_owned(), name })
    }

    /// Reads a server reference, `HOST[:PORT]`, the first of several. [MQTT5 4.11]
    pub(super) fn referred(reference: &str) -> Option<Self> {
        let first = reference.split_whitespace().next()?;
        Self::new(first, None).or_else(|| Self::new(&format!("{first}:{PORT}"), None))
    }
}

#[cfg(test)]
mod tests {
    use super::Front;

    #[test]
    fn a_reference_has_a_host_and_may_have_a_port() {
        let read = |text: &str| {
            Front::referred(text).map(|front| format!("{} {}", front.address, front.name.to_str()))
        };
        assert_eq!(read("gw-2.example").as_deref(), Some("gw-2.example:8883 gw-2.example"));
        assert_eq!(read("gw-2:7 gw-3:8").as_deref(), Some("gw-2:7 gw-2"));
        assert_eq!(read("[::1]").as_deref(), Some("[::1]:8883 ::1"));
        assert_eq!(read("[::1]:7").as_deref(), Some("[::1]:7 ::1"));
        assert_eq!(read(" "), None);
        assert_eq!(read("not/one:7"), None);
        assert_eq!(Front::new("127.0.0.1:8883", Some("gw")).unwrap().name.to_str(), "gw");
        assert_eq!(Front::new("gw", None), None);
    }
}
