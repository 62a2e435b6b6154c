//! An authority made for the occasion, and what it signs: certificates as wrong as a test wants them. Made by `openssl`, which is
//! not the library that judges them. It serves nothing.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// `openssl ca` is the only one of its commands that can date a certificate back.
pub const EXPIRED: [&str; 4] = ["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"];

pub const VALID: [&str; 2] = ["-days", "30"];

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

pub struct Authority {
    folder: PathBuf,
}

/// Both in PEM.
pub struct Leaf {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Of this name, in this folder, which is there and has nothing else in it.
    pub fn make(name: &str, folder: &Path) -> Self {
        let authority = Self { folder: folder.into() };
        std::fs::write(authority.file("index"), "").unwrap();
        std::fs::write(authority.file("serial"), "01\n").unwrap();
        authority.configure("DNS:nobody.invalid");
        let (certificate, key) = (authority.file("root.pem"), authority.file("root.key"));
        let root = [
            "-x509",
            "-extensions",
            "root",
            "-days",
            "3650",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &key,
            "-out",
            &certificate,
        ];
        authority.request(&root);
        authority
    }

    /// What to trust.
    pub fn certificate(&self) -> PathBuf {
        self.file("root.pem").into()
    }

    /// `place`: whom it is for, as `IP:127.0.0.1` or `DNS:origin.example`; `dates`: for instance [`EXPIRED`].
    pub fn sign(&self, name: &str, place: &str, dates: &[&str]) -> Leaf {
        let [certificate, key, request] = ["pem", "key", "csr"].map(|ending| self.file(&format!("{name}.{ending}")));
        self.configure(place);
        self.request(&["-subj", "/CN=origin", "-keyout", &key, "-out", &request]);
        let (root, root_key) = (self.file("root.pem"), self.file("root.key"));
        let files = ["-cert", &root, "-keyfile", &root_key, "-in", &request, "-out", &certificate];
        openssl(&[&["ca", "-config", &self.file("conf"), "-batch", "-notext"], dates, &files[..]].concat());
        Leaf { certificate: certificate.into(), key: key.into() }
    }

    fn configure(&self, place: &str) {
        let folder = self.folder.display();
        let config = format!(
            "[ca]\ndefault_ca = own\n[own]\nnew_certs_dir = {folder}\ndatabase = {folder}/index\nserial = {folder}/serial\n\
             unique_subject = no\ndefault_md = sha256\npolicy = any\nx509_extensions = leaf\n[any]\ncommonName = supplied\n\
             [leaf]\nbasicConstraints = CA:FALSE\nsubjectAltName = {place}\nextendedKeyUsage = serverAuth\n\
             [req]\ndistinguished_name = name\n[name]\n[root]\nbasicConstraints = critical, CA:TRUE\n\
             keyUsage = critical, keyCertSign, cRLSign\nsubjectKeyIdentifier = hash\n"
        );
        std::fs::write(self.file("conf"), config).unwrap();
    }

    fn request(&self, rest: &[&str]) {
        openssl(&[&["req", "-config", &self.file("conf"), "-new"], &NEW_KEY[..], rest].concat());
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is needed for this test");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {complaint}");
}
