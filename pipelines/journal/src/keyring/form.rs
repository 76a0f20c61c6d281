//! The text of the keyring file.

use super::{Held, KeyInfo, KeyState, MasterKey};
use crate::keys::cipher;
use crate::{KeyError, KeyId, KeyPurpose};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use wardline_proto::TenantId;
use zeroize::Zeroizing;

/// The only version of the file.
const VERSION: u32 = 1;
/// Largest keyring file that is read, bytes: some 20,000 keys.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct FileForm {
    version: u32,
    keys: Vec<KeyForm>,
}

#[derive(Serialize, Deserialize)]
struct KeyForm {
    id: String,
    purpose: KeyPurpose,
    tenant: Option<String>,
    version: u32,
    state: KeyState,
    created_at_us: i64,
    #[serde(with = "key_text", default, skip_serializing_if = "Option::is_none")]
    key: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<HeldForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HeldForm {
    Service,
}

/// Keeps the text of a key zeroized on both ways.
mod key_text {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    type Text = Option<Zeroizing<String>>;

    pub(super) fn serialize<S: Serializer>(text: &Text, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text.as_ref().map_or("", |text| text))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        String::deserialize(from).map(|text| Some(Zeroizing::new(text)))
    }
}

impl MasterKey {
    fn form(&self) -> KeyForm {
        let info = &self.info;
        let (key, held, at) = match &self.held {
            Held::Here { bytes, .. } => (Some(Zeroizing::new(STANDARD.encode(&**bytes))), None, None),
            Held::Service(at) => (None, Some(HeldForm::Service), at.clone()),
        };
        KeyForm {
            id: info.id.as_str().to_owned(),
            purpose: info.purpose,
            tenant: info.tenant.as_ref().map(|t| t.as_str().to_owned()),
            version: info.version,
            state: info.state,
            created_at_us: info.created_at_us,
            key,
            held,
            at,
        }
    }

    fn from_form(form: KeyForm) -> Result<Self, KeyError> {
        let held = match (form.key, form.held) {
            (Some(text), None) => {
                let bytes = STANDARD.decode(text.as_bytes()).map_err(|_base64| KeyError::Malformed)?;
                let bytes = Zeroizing::new(bytes);
                Held::Here { cipher: Box::new(cipher(&bytes)?), bytes }
            }
            (None, Some(HeldForm::Service)) => Held::Service(form.at),
            _ => return Err(KeyError::Malformed),
        };
        let tenant = form.tenant.map(|t| TenantId::new(&t)).transpose();
        let info = KeyInfo {
            id: KeyId::new(&form.id)?,
            purpose: form.purpose,
            tenant: tenant.map_err(|_grammar| KeyError::Malformed)?,
            version: form.version,
            state: form.state,
            created_at_us: form.created_at_us,
        };
        Ok(Self { info, held })
    }
}

/// Reads the file.
pub(super) fn load(path: &Path) -> Result<Vec<MasterKey>, KeyError> {
    let metadata = fs::metadata(path)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Permissions);
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(KeyError::Malformed);
    }
    let text = Zeroizing::new(fs::read(path)?);
    let form: FileForm = serde_json::from_slice(&text).map_err(|_json| KeyError::Malformed)?;
    if form.version != VERSION {
        return Err(KeyError::Malformed);
    }
    form.keys.into_iter().map(MasterKey::from_form).collect()
}

/// Writes keys as the file's text.
pub(super) fn text(keys: &[MasterKey]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let form = FileForm { version: VERSION, keys: keys.iter().map(MasterKey::form).collect() };
    Ok(Zeroizing::new(serde_json::to_vec_pretty(&form).map_err(|_form| KeyError::Malformed)?))
}
