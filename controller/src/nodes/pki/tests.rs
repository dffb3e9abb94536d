//! What the authority's certificates are good for, judged by rustls' own verifier; and its file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::*;

const NODE: &str = "arn:aws:ecs:us-east-1:000000000000:container-instance/default/0af1";

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

fn authority() -> Authority {
    Authority::create("test", [7; 16], start()).unwrap()
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    Arc::new(roots)
}

fn csr(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

fn node_certificate(authority: &Authority) -> CertificateDer<'static> {
    let key = NodeKey::from_request(&csr(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
    let node = InstanceArn::parse(NODE).unwrap();
    authority.issue_node(&node, &key, [9; 16], start()).unwrap()
}

fn as_client(roots: &Authority, certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(self::roots(roots), provider).build().unwrap();
    verifier.verify_client_cert(certificate, &[], unix(now)).is_ok()
}

fn as_server(roots: &Authority, certificate: &CertificateDer<'_>, name: &'static str) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(self::roots(roots), provider).build().unwrap();
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(certificate, &[], &name, &[], unix(start())).is_ok()
}

#[test]
fn a_node_certificate_is_for_a_client_of_this_authority_for_its_time() {
    let authority = authority();
    let certificate = node_certificate(&authority);
    let second = Duration::from_secs(1);
    assert!(as_client(&authority, &certificate, start()));
    assert!(as_client(&authority, &certificate, start() + NODE_CERTIFICATE_VALIDITY - second));
    assert!(!as_client(&authority, &certificate, start() + NODE_CERTIFICATE_VALIDITY + second));
    assert!(!as_client(&authority, &certificate, start() - BACKDATE - second));
    let other = Authority::create("test", [7; 16], start()).unwrap();
    assert!(!as_client(&other, &certificate, start()), "another authority of the same name");
}

#[test]
fn neither_side_can_pose_as_the_other() {
    let authority = authority();
    let (server, _) = authority.issue_server([8; 16], start()).unwrap();
    assert!(as_server(&authority, &server, CONTROLLER_DNS_NAME));
    assert!(!as_server(&authority, &server, "other.example"));
    assert!(!as_client(&authority, &server, start()));
    assert!(!as_server(&authority, &node_certificate(&authority), CONTROLLER_DNS_NAME));
}

#[test]
fn a_request_has_to_be_signed_and_of_a_known_kind() {
    assert!(NodeKey::from_request(&csr(&rcgen::PKCS_ED25519)).is_ok());
    let good = csr(&rcgen::PKCS_ECDSA_P256_SHA256);
    assert!(NodeKey::from_request(&good).is_ok());
    let refused = NodeKey::from_request(&csr(&rcgen::PKCS_ECDSA_P384_SHA384));
    assert!(matches!(refused, Err(PkiError::KeyKind)), "{refused:?}");
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(NodeKey::from_request(&forged), Err(PkiError::Request(_))));
    for cut in [0, 1, good.len() / 2, good.len() - 1] {
        assert!(matches!(NodeKey::from_request(&good[..cut]), Err(PkiError::Request(_))));
    }
    let large = vec![0x30; CSR_BYTES_MAX + 1];
    assert!(matches!(NodeKey::from_request(&large), Err(PkiError::RequestTooLarge(_))));
}

#[test]
fn an_authority_comes_back_from_its_file_and_signs_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller/ca.pem");
    let first = load_or_create(&path, start()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = load_or_create(&path, start()).unwrap();
    assert_eq!(again.hash(), first.hash());
    assert!(as_client(&first, &node_certificate(&again), start()));
}

#[test]
fn an_authority_file_that_is_open_or_broken_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    load_or_create(&path, start()).unwrap();
    let text = fs::read_to_string(&path).unwrap();

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = load_or_create(&path, start()).unwrap_err();
    assert!(matches!(refused, AuthorityFileError::Mode { mode: 0o640, .. }), "{refused}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

    let other = folder.path().join("other.pem");
    load_or_create(&other, start()).unwrap();
    let mixed = fs::read_to_string(&other).unwrap();
    let cut = |text: &str| text.find("-----BEGIN CERTIFICATE").unwrap();
    let mixed = format!("{}{}", &text[..cut(&text)], &mixed[cut(&mixed)..]);
    for broken in ["", "hello", &text[..text.len() / 2], &mixed] {
        fs::write(&path, broken).unwrap();
        let refused = load_or_create(&path, start()).unwrap_err();
        assert!(matches!(refused, AuthorityFileError::Content { .. }), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), broken, "it is left as it was");
    }
}
