//! Parses the fields of a certificate that verification needs.
//!
//! The fields are parsed as in Go's `crypto/x509/parser.go`. The crate x509-parser parses only
//! names and times, because it treats malformed name constraints as absent.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Name};

use super::constraints::Constraints;
use super::der::{self, Der, INTEGER, OBJECT, OCTET_STRING, SEQUENCE, Unreadable};
use super::names::Names;

/// Object identifiers in DER.
mod oid {
    pub(super) const AUTHORITY_INFO_ACCESS: &[u8] =
        &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
    pub(super) const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
    pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
    pub(super) const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
    pub(super) const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0x00];
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
}

/// Characters of a name that the log shows. The length is limited because unknown clients choose
/// it.
const TEXT: usize = 200;

/// The extended key usages of a certificate. A certificate without any is valid for every purpose.
#[derive(Debug, Default)]
pub(super) struct Usages {
    pub(super) any: bool,
    pub(super) server: bool,
    pub(super) client: bool,
}

/// The basic constraints of a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Basic {
    pub(super) is_authority: bool,
    /// Maximum number of CA certificates that may be between this one and the leaf certificate.
    pub(super) path_length: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) basic: Option<Basic>,
    /// Whether the key usage includes signing certificates; `None` without a key usage.
    pub(super) may_sign: Option<bool>,
    pub(super) usages: Option<Usages>,
    pub(super) names: Names,
    /// The subject alternative name extension in DER.
    pub(super) raw_names: Option<Vec<u8>>,
    pub(super) constraints: Option<Constraints>,
    pub(super) subject_key: Vec<u8>,
    pub(super) authority_key: Vec<u8>,
    /// Whether the certificate requires or maps policies in the certificates below it.
    pub(super) asks_for_policies: bool,
    /// The first critical extension that is not understood.
    pub(super) not_understood: Option<String>,
}

/// A parsed certificate. Byte fields are in DER.
#[derive(Debug)]
pub(super) struct Certificate {
    /// The whole certificate.
    pub(super) raw: Vec<u8>,
    pub(super) version: u8,
    pub(super) serial: Vec<u8>,
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// The subject for messages, cut to [`TEXT`] characters.
    pub(super) subject_text: String,
    /// The issuer for messages, cut to [`TEXT`] characters.
    pub(super) issuer_text: String,
    pub(super) common_name: Option<String>,
    /// Begin of the validity, in seconds since the Unix epoch.
    pub(super) not_before: i64,
    /// End of the validity, in seconds since the Unix epoch.
    pub(super) not_after: i64,
    /// The public key with its algorithm (SubjectPublicKeyInfo).
    pub(super) key_info: Vec<u8>,
    pub(super) key_algorithm: Vec<u8>,
    pub(super) key: Vec<u8>,
    /// The signed part of the certificate (TBSCertificate).
    pub(super) signed: Vec<u8>,
    /// The algorithm of the signature.
    pub(super) algorithm: Vec<u8>,
    pub(super) signature: Vec<u8>,
    pub(super) extensions: Extensions,
}

impl Certificate {
    /// Parses a certificate.
    ///
    /// # Errors
    /// The certificate is malformed.
    pub(super) fn parse(certificate: &CertificateDer<'_>) -> Result<Self, Unreadable> {
        let raw: &[u8] = certificate;
        let mut outer = Der(der::only(raw, SEQUENCE)?);
        let signed = outer.value(SEQUENCE)?;
        let algorithm = outer.take(SEQUENCE)?;
        let signature = outer.bytes()?;
        outer.end()?;

        let mut body = Der(signed.data);
        let version = version(&mut body)?;
        let serial = body.take(INTEGER)?;
        if serial.first().is_none_or(|first| first & 0x80 != 0) {
            return Err("its serial number is negative");
        }
        if body.take(SEQUENCE)? != algorithm {
            return Err("it names two different algorithms for its signature");
        }
        let issuer = body.value(SEQUENCE)?.raw;
        let mut validity = Der(body.take(SEQUENCE)?);
        let not_before = time(&mut validity)?;
        let not_after = time(&mut validity)?;
        let subject = body.value(SEQUENCE)?.raw;
        let key_info = body.value(SEQUENCE)?;
        let mut key = Der(key_info.data);
        let key_algorithm = key.take(SEQUENCE)?;
        let key = key.bytes()?;
        let extensions = extensions(&mut body, version)?;
        body.end()?;

        let (subject_text, common_name) = name(subject)?;
        Ok(Self {
            raw: raw.to_vec(),
            version,
            serial: serial.to_vec(),
            subject: subject.to_vec(),
            issuer: issuer.to_vec(),
            subject_text,
            issuer_text: name(issuer)?.0,
            common_name,
            not_before,
            not_after,
            key_info: key_info.raw.to_vec(),
            key_algorithm: key_algorithm.to_vec(),
            key: key.to_vec(),
            signed: signed.raw.to_vec(),
            algorithm: algorithm.to_vec(),
            signature: signature.to_vec(),
            extensions,
        })
    }

    /// The length of the public key in bits, if it is an RSA key.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        let mut algorithm = Der(&self.key_algorithm);
        if algorithm.take(OBJECT).ok()? != oid::RSA {
            return None;
        }
        let modulus = Der(der::only(&self.key, SEQUENCE).ok()?).take(INTEGER).ok()?;
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let first = modulus.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
        Some((modulus.len() - zeros) * 8 - first)
    }
}

fn version(body: &mut Der<'_>) -> Result<u8, Unreadable> {
    match body.optional(0xa0)? {
        None => Ok(1),
        Some(version) => match der::only(version, INTEGER)? {
            [version @ 0..=2] => Ok(version + 1),
            _ => Err("its version is not 1, 2 or 3"),
        },
    }
}

fn time(validity: &mut Der<'_>) -> Result<i64, Unreadable> {
    let (_, time) =
        ASN1Time::from_der(validity.any()?.raw).map_err(|_| "a time in it is malformed")?;
    Ok(time.timestamp())
}

/// The text of a name, and its common name. If it has several common names, the last one counts,
/// as in Go.
fn name(raw: &[u8]) -> Result<(String, Option<String>), Unreadable> {
    let (_, name) = X509Name::from_der(raw).map_err(|_| "a name in it is malformed")?;
    let common = name.iter_common_name().last().and_then(|name| name.as_str().ok());
    let mut text: String = name.to_string().chars().take(TEXT).collect();
    if text.is_empty() {
        text = "(no subject)".to_owned();
    }
    Ok((text, common.map(str::to_owned)))
}

fn extensions(body: &mut Der<'_>, version: u8) -> Result<Extensions, Unreadable> {
    let mut found = Extensions::default();
    if version > 1 {
        body.optional(0x81)?;
        body.optional(0x82)?;
    }
    if version < 3 {
        return Ok(found);
    }
    let Some(all) = body.optional(0xa3)? else { return Ok(found) };
    let mut all = Der(der::only(all, SEQUENCE)?);
    let mut seen: Vec<&[u8]> = Vec::new();
    while !all.is_empty() {
        let mut extension = Der(all.take(SEQUENCE)?);
        let id = extension.take(OBJECT)?;
        let is_critical = extension.flag()?;
        let value = extension.take(OCTET_STRING)?;
        extension.end()?;
        if seen.contains(&id) {
            return Err("it has an extension twice");
        }
        seen.push(id);
        if !found.read(id, is_critical, value)? && is_critical {
            let id = x509_parser::oid_registry::Oid::new(id.into());
            found.not_understood.get_or_insert_with(|| id.to_id_string());
        }
    }
    Ok(found)
}

impl Extensions {
    /// Parses an extension. Returns whether the extension is fully understood.
    fn read(&mut self, id: &[u8], is_critical: bool, value: &[u8]) -> Result<bool, Unreadable> {
        if id == oid::AUTHORITY_INFO_ACCESS && is_critical {
            return Err("its authority information access is critical, which it must not be");
        }
        let [0x55, 0x1d, number] = id else { return Ok(id == oid::AUTHORITY_INFO_ACCESS) };
        match number {
            14 | 35 if is_critical => {
                return Err("a key identifier in it is critical, which it must not be");
            }
            14 => self.subject_key = der::only(value, OCTET_STRING)?.to_vec(),
            15 => self.may_sign = key_usage(value)?,
            17 => {
                self.names = Names::parse(value)?;
                self.raw_names = Some(value.to_vec());
                return Ok(!self.names.is_empty());
            }
            19 => self.basic = Some(basic(value)?),
            30 => {
                let (constraints, is_understood) = Constraints::parse(value)?;
                self.constraints = Some(constraints);
                return Ok(is_understood);
            }
            33 => self.asks_for_policies |= maps_any_policy(value)?,
            35 => {
                let mut identifier = Der(der::only(value, SEQUENCE)?);
                self.authority_key = identifier.optional(0x80)?.unwrap_or_default().to_vec();
            }
            36 => {
                self.asks_for_policies |= Der(der::only(value, SEQUENCE)?).optional(0x80)?.is_some()
            }
            37 => self.usages = usages(value)?,
            // Ignored: CRL distribution points, because revocation lists are not fetched, as in Go;
            // and certificate policies and the inhibition of anyPolicy, which have an effect only
            // if a certificate requires policies.
            31 | 32 | 54 => {}
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Whether the key usage includes signing certificates. A key usage without bits counts as none.
fn key_usage(value: &[u8]) -> Result<Option<bool>, Unreadable> {
    let bits = der::only(value, der::BIT_STRING)?;
    let Some((_, bits)) = bits.split_first() else { return Err("its key usage is malformed") };
    let is_set = bits.iter().any(|byte| *byte != 0);
    Ok(is_set.then(|| bits.first().is_some_and(|byte| byte & 0x04 != 0)))
}

fn basic(value: &[u8]) -> Result<Basic, Unreadable> {
    let mut fields = Der(der::only(value, SEQUENCE)?);
    let is_authority = fields.flag()?;
    let length = fields.optional(INTEGER)?;
    fields.end()?;
    let path_length = match length {
        None => None,
        Some([]) => return Err("its path length is malformed"),
        Some([first, ..]) if first & 0x80 != 0 => return Err("its path length is negative"),
        Some(bytes) if bytes.len() > 8 => return Err("its path length is too large"),
        Some(bytes) => Some(bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))),
    };
    Ok(Basic { is_authority, path_length })
}

fn usages(value: &[u8]) -> Result<Option<Usages>, Unreadable> {
    let mut list = Der(der::only(value, SEQUENCE)?);
    if list.is_empty() {
        return Ok(None);
    }
    let mut usages = Usages::default();
    while !list.is_empty() {
        match list.take(OBJECT)? {
            oid::ANY_USAGE => usages.any = true,
            oid::SERVER_AUTH => usages.server = true,
            oid::CLIENT_AUTH => usages.client = true,
            _ => {}
        }
    }
    Ok(Some(usages))
}

fn maps_any_policy(value: &[u8]) -> Result<bool, Unreadable> {
    let mut list = Der(der::only(value, SEQUENCE)?);
    let mut maps_any = false;
    while !list.is_empty() {
        let mut mapping = Der(list.take(SEQUENCE)?);
        let from = mapping.take(OBJECT)?;
        let to = mapping.take(OBJECT)?;
        maps_any |= from == oid::ANY_POLICY || to == oid::ANY_POLICY;
    }
    Ok(maps_any)
}
