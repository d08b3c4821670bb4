//! What a client of rustls needs.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::connect::{ConnectError, check_ca};

/// TLS with ring, that trusts the authorities in `ca_pem`, or without one those that the web
/// trusts. Asks for no provider of the process.
///
/// # Errors
/// When there is no certificate in the text.
pub fn client_config(ca_pem: Option<&str>) -> Result<ClientConfig, ConnectError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| ConnectError::NoTlsProvider)?;
    let roots = roots(ca_pem)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn roots(ca_pem: Option<&str>) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca_pem else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    check_ca(pem)?;
    for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let cert = cert.map_err(|_| ConnectError::Ca)?;
        roots.add(cert).map_err(|_| ConnectError::Ca)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_certificate_is_refused() {
        assert!(client_config(None).is_ok());
        for pem in ["", "x", "-----BEGIN CERTIFICATE-----"] {
            assert_eq!(client_config(Some(pem)).map(|_| ()), Err(ConnectError::Ca));
        }
    }
}
