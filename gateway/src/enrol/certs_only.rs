//! Certificates as EST sends them: a certs-only CMS message (RFC 5272, 4.1) in base64 (RFC 7030, 4.1.3, 4.2.3).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cms::cert::x509::Certificate;
use cms::cert::x509::PkiPath;
use cms::cert::x509::der::{Decode, Encode, Error};
use cms::content_info::ContentInfo;

/// Length of a line of base64, as every decoder takes it.
const LINE: usize = 64;

/// Puts certificates into a message. DER keeps a set in an order of its own.
pub(super) fn message<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Result<String, Error> {
    let certificates: PkiPath = ders.into_iter().map(Certificate::from_der).collect::<Result<_, _>>()?;
    let base64 = STANDARD.encode(ContentInfo::try_from(certificates)?.to_der()?);
    let mut lines = String::with_capacity(base64.len() + base64.len() / LINE + 1);
    for (at, character) in base64.char_indices() {
        if at > 0 && at % LINE == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines.push('\n');
    Ok(lines)
}
