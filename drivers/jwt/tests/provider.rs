//! The provider of the process is somebody else's, and may be none. One test, for there is one process.

#[expect(dead_code, reason = "one token of each algorithm is all it takes")]
#[path = "verifying/issuer.rs"]
mod issuer;

use issuer::{ALL, Pair, ann, jwks, verify};
use jsonwebtoken::crypto::{CryptoProvider, KeyUtils};
use rejoin_jwt::JwtVerifier;

static BROKEN: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| panic!("the process's provider signs"),
    verifier_factory: |_, _| panic!("the process's provider verifies"),
    key_utils: KeyUtils::new_unimplemented(),
};

#[test]
fn a_broken_provider_of_the_process_is_never_asked() {
    BROKEN.install_default().expect("nobody was here before");
    for algorithm in ALL {
        let pair = Pair::of(algorithm);
        let verifier = JwtVerifier::from_jwks(&jwks(std::slice::from_ref(&pair.jwk))).unwrap();
        assert!(verify(&verifier, &pair.token(algorithm, &ann())).is_ok(), "{algorithm:?}");
    }
}
