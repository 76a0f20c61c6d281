//! Reads from a server's first flight which TLS version it chose. Any bytes are read or not; nothing panics.

use std::fmt;

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::V13 { "TLS 1.3" } else { "TLS 1.2" })
    }
}

const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const SUPPORTED_VERSIONS: u16 = 43;

/// Returns the version of the ServerHello at the start of `bytes`; none while it is not whole, or when it is none.
/// In TLS 1.3 the old version field says 1.2 and an extension says the truth (RFC 8446, 4.1.3 and 4.2.1).
pub(super) fn chosen(bytes: &[u8]) -> Option<TlsVersion> {
    let mut record = Bytes(bytes);
    if record.u8()? != HANDSHAKE {
        return None;
    }
    record.take(2)?;
    let length = usize::from(record.u16()?);
    let mut hello = Bytes(record.take(length)?);
    if hello.u8()? != SERVER_HELLO {
        return None;
    }
    hello.take(3)?;
    let old = hello.u16()?;
    hello.take(32)?;
    let session = usize::from(hello.u8()?);
    // Session id, cipher suite, compression.
    hello.take(session + 3)?;
    if hello.0.is_empty() {
        return version(old);
    }
    hello.take(2)?;
    while !hello.0.is_empty() {
        let kind = hello.u16()?;
        let length = usize::from(hello.u16()?);
        let mut data = Bytes(hello.take(length)?);
        if kind == SUPPORTED_VERSIONS {
            return version(data.u16()?);
        }
    }
    version(old)
}

fn version(number: u16) -> Option<TlsVersion> {
    match number {
        0x0303 => Some(TlsVersion::V12),
        0x0304 => Some(TlsVersion::V13),
        _ => None,
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ServerHello with an empty session id and these extensions.
    fn hello(extensions: &[u8]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0x13, 0x01, 0]);
        if !extensions.is_empty() {
            body.extend((extensions.len() as u16).to_be_bytes());
            body.extend(extensions);
        }
        let mut bytes = vec![HANDSHAKE, 3, 3];
        bytes.extend((body.len() as u16 + 4).to_be_bytes());
        bytes.extend([SERVER_HELLO, 0, 0, body.len() as u8]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_extension_tells_the_version() {
        let key_share = [0, 51, 0, 2, 0, 29];
        let supported = [0, 43, 0, 2, 3, 4];
        assert_eq!(chosen(&hello(&[key_share, supported].concat())), Some(TlsVersion::V13));
        assert_eq!(chosen(&hello(&key_share)), Some(TlsVersion::V12));
        assert_eq!(chosen(&hello(&[])), Some(TlsVersion::V12));
        let whole = hello(&supported);
        assert!((0..whole.len()).all(|cut| chosen(&whole[..cut]).is_none()), "not whole");
        assert_eq!(chosen(b"HTTP/1.1 400 Bad Request\r\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes: Vec<u8>) {
            let _ = chosen(&bytes);
            let _ = chosen(&[&[HANDSHAKE, 3, 3, 0, 60, SERVER_HELLO], bytes.as_slice()].concat());
        }
    }
}
