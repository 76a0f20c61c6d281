//! What is read out of certificates that somebody has verified, or that are our own.

use super::{PkiDir, PkiError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::oid_registry::OID_X509_SERIALNUMBER;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Returns the `serialNumber` of a certificate's subject: the hardware's serial in a factory certificate (IEEE 802.1AR,
/// 8.6). `None` when there is none or more than one.
pub fn subject_serial_number(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut values = certificate.subject().iter_by_oid(&OID_X509_SERIALNUMBER);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.as_str().ok().map(str::to_owned)
}

/// Returns the names and addresses that the gateway's own certificate is for.
pub fn server_hosts(dir: &PkiDir) -> Result<Vec<String>, PkiError> {
    let pem = dir.read("server.pem")?;
    let undecodable = || PkiError::Decode("server.pem");
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_pem| undecodable())?;
    let (_, leaf) = X509Certificate::from_der(&leaf).map_err(|_der| undecodable())?;
    let names = leaf.subject_alternative_name().map_err(|_der| undecodable())?.ok_or_else(undecodable)?;
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
        _ => None,
    };
    Ok(names.value.general_names.iter().filter_map(host).collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into())).ok()
}
