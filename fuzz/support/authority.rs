//! An authority whose private key is the number one: what it signs gets past the signature, to the code behind.
//!
//! Its public key is the curve's own generator, so nothing here is random but signatures, and a finding is seen again.
#![allow(dead_code, reason = "each target uses its part")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
};

/// The generator of P-256, uncompressed (SEC 2, 2.4.2).
const POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f,
    0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
    0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
];
const EC_PUBLIC_KEY: [u8; 9] = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ECDSA_SHA256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Writes a value with its tag and length.
pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        long => out.extend([&[0x84][..], &(long as u32).to_be_bytes()[4 - bytes_of(long)..]].concat()),
    }
    if content.len() >= 0x80 {
        out[1] = 0x80 | bytes_of(content.len()) as u8;
    }
    out.extend(content);
    out
}

fn bytes_of(length: usize) -> usize {
    (usize::BITS - length.leading_zeros()).div_ceil(8) as usize
}

/// Returns what an outer value begins with: what is signed of a certificate, a request or a list.
pub fn first_of(outer: &[u8]) -> &[u8] {
    let (_, content) = split(outer);
    let (length, _) = split(content);
    &content[..length]
}

/// Returns the length of a value with its header, and its content.
fn split(value: &[u8]) -> (usize, &[u8]) {
    let (head, length) = match usize::from(value[1]) {
        short @ 0..0x80 => (2, short),
        long => {
            let bytes = &value[2..2 + (long & 0x7f)];
            (2 + bytes.len(), bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        }
    };
    (head + length, &value[head..head + length])
}

/// Changes bytes of a valid value: three bytes of input say where and to what. Length stays, so most of it still reads.
pub fn edited(valid: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut value = valid.to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]]));
        if let Some(byte) = value.get_mut(at) {
            *byte = edit[2];
        }
    }
    value
}

/// Signs what is to be signed and puts the two together, as certificates, requests and lists do.
pub fn signed(content: &[u8]) -> Vec<u8> {
    let signature = [&[0][..], &sign(&ECDSA_P256_SHA256_ASN1_SIGNING, content)].concat();
    der(0x30, &[content, &ECDSA_SHA256, &der(0x03, &signature)].concat())
}

/// Signs as a JWS does.
pub fn sign_fixed(content: &[u8]) -> Vec<u8> {
    sign(&ECDSA_P256_SHA256_FIXED_SIGNING, content)
}

fn sign(algorithm: &'static EcdsaSigningAlgorithm, content: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8(), &random).expect("a key");
    key.sign(&random, content).expect("a signature").as_ref().to_vec()
}

fn pkcs8() -> Vec<u8> {
    let mut one = [0; 32];
    one[31] = 1;
    let public = der(0xa1, &der(0x03, &[&[0][..], &POINT].concat()));
    let private = der(0x30, &[&[0x02, 1, 1][..], &der(0x04, &one), &public].concat());
    let algorithm = der(0x30, &[&EC_PUBLIC_KEY[..], &P256].concat());
    der(0x30, &[&[0x02, 1, 0][..], &algorithm, &der(0x04, &private)].concat())
}

/// The public key with its algorithm.
pub fn public_key_info() -> Vec<u8> {
    let algorithm = der(0x30, &[&EC_PUBLIC_KEY[..], &P256].concat());
    der(0x30, &[&algorithm[..], &der(0x03, &[&[0][..], &POINT].concat())].concat())
}

/// The key, for what makes certificates.
pub fn key() -> KeyPair {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8().into(), &PKCS_ECDSA_P256_SHA256).expect("a key")
}

/// The root's certificate.
pub fn root() -> Vec<u8> {
    params().self_signed(&key()).expect("a certificate").der().to_vec()
}

/// What the root says of itself.
pub fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(vec![1; 16].into());
    params
}
