//! The subject alternative names of a certificate.

use std::net::IpAddr;

use super::der::{self, Der, SEQUENCE, Unreadable};

/// The subject alternative names of a certificate.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) hosts: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) emails: Vec<String>,
    pub(super) uris: Vec<String>,
}

impl Names {
    /// Parses the subject alternative name extension.
    pub(super) fn parse(value: &[u8]) -> Result<Self, Unreadable> {
        let mut names = Self::default();
        let mut list = Der(der::only(value, SEQUENCE)?);
        while !list.is_empty() {
            let name = list.any()?;
            match name.tag {
                0x81 => names.emails.push(ascii(name.data)?),
                0x82 => names.hosts.push(ascii(name.data)?),
                0x86 => names.uris.push(ascii(name.data)?),
                0x87 => names.addresses.push(address(name.data)?),
                _ => {}
            }
        }
        Ok(names)
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { hosts, addresses, emails, uris } = self;
        hosts.is_empty() && addresses.is_empty() && emails.is_empty() && uris.is_empty()
    }

    /// The addresses and hosts, for messages.
    pub(super) fn to_list(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(ToString::to_string);
        addresses.chain(self.hosts.iter().cloned()).collect()
    }
}

fn ascii(bytes: &[u8]) -> Result<String, Unreadable> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err("a name in it is not ASCII"),
    }
}

fn address(bytes: &[u8]) -> Result<IpAddr, Unreadable> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map_err(|_| "an address in it is neither IPv4 nor IPv6")
}
