//! Who is let in: whose token is good, or everybody, and from which web pages.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;

use rejoin_core::phoenix::{AllowedOrigin, OriginPolicy};
use rejoin_jwt::JwtVerifier;

use crate::args::AccessArgs;
use crate::failure::Failure;
use crate::secret::Secret;

const SECRET: &str = "REJOIN_JWT_SECRET";
/// More than any key set has.
const JWKS_BYTES: u64 = 1 << 20;

/// Whose tokens are good; `None` lets everybody in.
pub(super) fn verifier(args: &AccessArgs, address: SocketAddr) -> Result<Option<JwtVerifier>, Failure> {
    let secret = Secret::given("--jwt-secret", args.jwt_secret.as_deref(), SECRET)?;
    if args.no_auth {
        let verifier = args.jwks.as_ref().map(|_| "--jwks").or(secret.as_ref().map(|secret| secret.name));
        return match verifier {
            Some(name) => Err(Failure::usage("--no-auth", format!("there is {name}, too; leave one of them out"))),
            None => Ok(None),
        };
    }
    let bad = |secret: &Secret, error| Failure::usage(secret.name, error);
    match (&args.jwks, secret) {
        (Some(file), None) => key_set(file).map(Some),
        (Some(file), Some(secret)) => {
            let either = key_set(file)?.with_fallback_secret(&secret.value);
            either.map(Some).map_err(|error| bad(&secret, error))
        }
        (None, Some(secret)) => JwtVerifier::from_secret(&secret.value).map(Some).map_err(|error| bad(&secret, error)),
        (None, None) if address.ip().to_canonical().is_loopback() => Ok(None),
        (None, None) => Err(Failure::usage(
            "--listen",
            format!(
                "others than this machine reach {address}; give --jwt-secret or --jwks, or --no-auth to let everybody in"
            ),
        )),
    }
}

fn key_set(file: &str) -> Result<JwtVerifier, Failure> {
    let unreadable = |error| {
        Failure::usage(
            "--jwks",
            format!("{file}: {error}; name a file with the JSON Web Key Set of whoever signs the tokens"),
        )
    };
    let mut json = String::new();
    File::open(file).and_then(|file| file.take(JWKS_BYTES).read_to_string(&mut json)).map_err(unreadable)?;
    JwtVerifier::from_jwks(&json).map_err(|error| Failure::usage("--jwks", format!("{file}: {error}")))
}

/// Pages of whatever else runs here.
const THIS_MACHINE: [&str; 3] = ["//localhost", "//127.0.0.1", "//[::1]"];

/// Which web pages may connect.
pub(super) fn origins(texts: &[String], is_local: bool) -> Result<OriginPolicy, Failure> {
    match texts {
        // Any name may be made to mean this machine, and a page of that name would be of the same host.
        [] if is_local => {
            Ok(OriginPolicy::List(THIS_MACHINE.iter().filter_map(|origin| origin.parse().ok()).collect()))
        }
        [] => Ok(OriginPolicy::SameHost),
        [any] if any == "any" => Ok(OriginPolicy::Any),
        texts => texts.iter().map(|text| origin(text)).collect::<Result<_, _>>().map(OriginPolicy::List),
    }
}

fn origin(text: &str) -> Result<AllowedOrigin, Failure> {
    text.parse().map_err(|error| match text {
        "any" => {
            Failure::usage("--origin", "`any` leaves nothing for another one to add; give it alone, or leave it out")
        }
        text => Failure::usage("--origin", format!("`{text}` is none: {error}, or any")),
    })
}
