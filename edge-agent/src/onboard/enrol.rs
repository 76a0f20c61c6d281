//! Enrolment: from a claim or a factory certificate to an identity of one's own.
//!
//! | step | what is durable after it | a rerun |
//! |---|---|---|
//! | authority proven by the pin | nothing | asks again |
//! | key made | `key.pem` | uses this key |
//! | authority kept | `ca.pem` | |
//! | certificate got | `cert.pem` | the gateway gives the same certificate for the same claim and key |
//! | list of fronts got | `services.json` | changes nothing |

use super::certificate::Certificate;
use super::claim::{Claim, Pin};
use super::error::{EdgeError, answer};
use super::est::{self, By};
use super::folder::{Folder, Identity};
use super::http::Origin;
use super::services::{FrontAddr, ServiceList};
use crate::clock::now_us;
use crate::tls::{self, Credentials};
use std::path::PathBuf;
use wardline_proto::refusal::Refusal;
use wardline_proto::{DeviceId, DeviceKey};

/// What entitles to a certificate.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A claim token.
    Claim(Claim),
    /// The certificate that the device's maker put into it.
    Factory {
        /// Folder with `cert.pem` and `key.pem`, and `ca.pem` when there is no pin.
        dir: PathBuf,
        /// The gateway's authority; without it the folder's `ca.pem` says whom to trust.
        pin: Option<Pin>,
    },
}

/// What an enrolment is told.
#[derive(Debug, Clone)]
pub struct EnrolOptions {
    /// The gateway's HTTPS listener, `https://HOST:PORT`.
    pub url: String,
    /// What entitles to a certificate.
    pub proof: Proof,
    /// The device to become.
    pub device: DeviceId,
    /// The hardware's serial number.
    pub serial_number: Option<String>,
    /// Where the identity goes.
    pub certs_dir: PathBuf,
}

/// What an enrolment brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// The device, as the certificate names it.
    pub device: DeviceKey,
    /// Last moment of the certificate, unix microseconds.
    pub not_after_us: i64,
    /// Where to connect, in order.
    pub fronts: Vec<FrontAddr>,
    /// False when the folder held this identity already.
    pub is_new: bool,
}

/// Derives a device id from a serial number: lower-cased, when that is an id.
pub fn device_from_serial_number(serial_number: &str) -> Result<DeviceId, EdgeError> {
    DeviceId::new(&serial_number.trim().to_lowercase()).map_err(|_| {
        EdgeError::reject(Refusal::EdgeDevice, format!("the serial number {serial_number:?} is no device id"))
    })
}

/// Enrols. After an error, or a crash at any step, the same call goes on where it stopped, with the same key.
pub async fn enrol(options: &EnrolOptions) -> Result<Enrolled, EdgeError> {
    let origin = Origin::read(&options.url)?;
    let folder = Folder::new(&options.certs_dir);
    folder.create()?;
    let present = present_identity(&folder, options)?;
    let (roots, authorities) = trusted_roots(&origin, &folder, options, present.is_some()).await?;
    let is_new = present.is_none();
    let credentials = match present {
        Some(credentials) => credentials,
        None => first_certificate(&origin, &folder, options, &roots, authorities).await?,
    };
    let signed = est::fetch_list(&origin, &credentials.config).await?;
    // A list of an earlier attempt does not stand in the way of the one that this gateway gives now.
    let list = ServiceList::verify(&signed, &roots, None, now_us())?;
    folder.write_services(&list)?;
    let (_, not_after_us) = credentials.leaf.life_us();
    Ok(Enrolled { device: credentials.device, not_after_us, fronts: list.fronts(), is_new })
}

/// Returns the identity that the folder holds, when it is the wanted one and in force.
fn present_identity(folder: &Folder, options: &EnrolOptions) -> Result<Option<Credentials>, EdgeError> {
    if !folder.has("cert.pem") {
        return Ok(None);
    }
    let not_ours = |problem: String| EdgeError::reject(Refusal::EdgeFolder, problem);
    let credentials = folder.credentials(Identity::Current);
    let credentials =
        credentials.map_err(|error| not_ours(format!("the folder holds something else: {error}")))?;
    if credentials.device.device != options.device {
        return Err(not_ours(format!("the folder holds the identity of {}", credentials.device)));
    }
    Ok(credentials.leaf.is_in_force(now_us()).then_some(credentials))
}

/// Returns whom to trust, proven by the pin or put there by the maker, and the authority's other certificates where
/// they are known already.
async fn trusted_roots(
    origin: &Origin,
    folder: &Folder,
    options: &EnrolOptions,
    is_present: bool,
) -> Result<(Vec<Certificate>, Vec<Certificate>), EdgeError> {
    let pin = match &options.proof {
        Proof::Claim(claim) => claim.pin(),
        Proof::Factory { pin: Some(pin), .. } => *pin,
        Proof::Factory { dir, pin: None } => return Ok((Folder::new(dir).roots()?, Vec::new())),
    };
    if is_present {
        let roots = folder.roots()?;
        let is_same = roots.iter().any(|root| pin.fits(root.der()));
        let problem = "the folder holds an identity of another authority";
        return if is_same {
            Ok((roots, Vec::new()))
        } else {
            Err(EdgeError::reject(Refusal::EdgeFolder, problem))
        };
    }
    let (root, all) = est::fetch_pinned(origin, &pin).await?;
    Ok((vec![root], all))
}

async fn first_certificate(
    origin: &Origin,
    folder: &Folder,
    options: &EnrolOptions,
    roots: &[Certificate],
    mut authorities: Vec<Certificate>,
) -> Result<Credentials, EdgeError> {
    let key = folder.key()?;
    folder.write_roots(roots)?;
    let (factory, claim) = match &options.proof {
        Proof::Claim(claim) => (None, Some(claim.token())),
        Proof::Factory { dir, .. } => (Some(dir.as_path()), None),
    };
    let trust = roots.iter().map(|root| root.der().to_vec().into());
    let tls = tls::before_enrolment(trust, factory);
    let tls = tls.map_err(|error| EdgeError::reject(Refusal::EdgeFolder, error.to_string()))?;
    if authorities.is_empty() {
        authorities = est::fetch_authorities(origin, &tls).await?;
    }
    let by = By::Enrol { device: &options.device, claim, serial_number: options.serial_number.as_deref() };
    let request = key.request(&options.device)?;
    let chain = est::request_certificate(origin, &tls, request, key.public_key(), &authorities, by).await?;
    check_chain(&chain, roots)?;
    let named = tls::device_of(&chain[0].der().into());
    let named = named.map_err(|error| answer(error.to_string()))?;
    if named.device != options.device {
        return Err(answer(format!("the gateway sent a certificate of {named}")));
    }
    folder.write_chain(&chain)?;
    folder.credentials(Identity::Current).map_err(|error| answer(error.to_string()))
}

/// Says whether a chain leads from a certificate that is in force to one of `roots`.
pub(super) fn check_chain(chain: &[Certificate], roots: &[Certificate]) -> Result<(), EdgeError> {
    let is_linked = chain.windows(2).all(|pair| pair[1].is_authority() && pair[0].is_signed_by(&pair[1]));
    let is_ours = chain.last().is_some_and(|last| roots.iter().any(|root| last.is_signed_by(root)));
    if !is_linked || !is_ours {
        return Err(answer("the gateway sent a certificate of another authority"));
    }
    let is_in_force = chain.iter().all(|certificate| certificate.is_in_force(now_us()));
    if is_in_force { Ok(()) } else { Err(answer("the gateway sent a certificate that is not in force now")) }
}
