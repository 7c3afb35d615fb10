//! TLS configuration that both runtimes share: rustls with the ring provider, passed explicitly.

use std::sync::Arc;

use rejoin_core::OpenError;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

/// Trusts the roots of `webpki-roots`; never asks the process-wide default provider.
#[must_use]
pub fn client_config() -> Arc<ClientConfig> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // ring supports both default protocol versions, so the builder cannot fail.
    let builder = builder.unwrap_or_else(|error| unreachable!("{error}"));
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The name that the server's certificate has to bear.
///
/// # Errors
/// If the host is neither a DNS name nor an address.
pub fn server_name(host: &str) -> Result<ServerName<'static>, OpenError> {
    let wrong = |_| OpenError::io("the URL's host is neither a DNS name nor an address");
    ServerName::try_from(host.to_owned()).map_err(wrong)
}

pub use rustls;
