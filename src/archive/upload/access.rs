//! How the store is reached: the web client with what it trusts, and the keys. Files of certificates and keys are read here, and
//! judged before the library sees them. No request is made.

use std::path::Path;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{self, Keys};

/// Of the library: later ones may behave in other ways.
pub fn version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// TLS by the same library as the legs'.
pub async fn web_client(config: &config::Upload) -> Result<SharedHttpClient, String> {
    let plain = config.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let ca_file = config.ca_file.clone();
    // Files are read.
    let trust = move || match (plain, &ca_file) {
        (true, _) => Ok(TrustStore::empty()),
        (false, Some(path)) => from_file(path),
        (false, None) => from_system(),
    };
    let trust = tokio::task::spawn_blocking(trust).await.map_err(|error| error.to_string())??;
    let context = TlsContext::builder().with_trust_store(trust).build().map_err(|error| error.to_string())?;
    let builder = aws_smithy_http_client::Builder::new().tls_provider(Provider::rustls(CryptoMode::Ring));
    Ok(builder.tls_context(context).build_https())
}

fn from_system() -> Result<TrustStore, String> {
    match rustls_native_certs::load_native_certs().certs.is_empty() {
        true => Err("this system has no certificate of an authority; give one with `ca_file`".into()),
        false => Ok(TrustStore::empty().with_native_roots(true)),
    }
}

/// What the library would not survive is found here.
fn from_file(path: &Path) -> Result<TrustStore, String> {
    let text = std::fs::read(path).map_err(|error| format!("{} cannot be read ({error})", path.display()))?;
    let fault = |error: &dyn std::fmt::Debug| format!("{} holds no good certificate ({error:?})", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        roots.add(certificate.map_err(|error| fault(&error))?).map_err(|error| fault(&error))?;
    }
    match roots.is_empty() {
        true => Err(format!("{} holds no certificate", path.display())),
        false => Ok(TrustStore::empty().with_pem_certificate(text)),
    }
}

/// The keys of the configuration; a file of profiles as other tools of this kind have it; or what the library finds by itself: the
/// environment, the home folder, the machine that it runs on.
pub async fn keys(config: &config::Upload, web: SharedHttpClient) -> Option<SharedCredentialsProvider> {
    let region = Region::new(config.region.clone());
    Some(match &config.keys {
        Keys::Written { access, secret } => {
            SharedCredentialsProvider::new(Credentials::new(access, secret.expose(), None, None, "configuration"))
        }
        Keys::File(path) => {
            let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, path).build();
            // A profile may name a role that has to be asked for.
            let settings = ProviderConfig::without_region().with_region(Some(region)).with_http_client(web);
            let profile = ProfileFileCredentialsProvider::builder().configure(&settings).profile_files(files).build();
            SharedCredentialsProvider::new(profile)
        }
        Keys::Surroundings => {
            let found = aws_config::defaults(version()).http_client(web).region(region).load().await;
            return found.credentials_provider();
        }
    })
}
