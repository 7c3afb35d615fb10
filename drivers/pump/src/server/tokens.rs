//! Tokens: who may come in, and who may stay.

use std::time::Duration;

use rejoin_core::auth::Claims;
use rejoin_core::{Payload, Timestamp};
use serde::Deserialize;

use super::endpoint::Settings;
use super::identity::Identity;
use super::reason::with_reason;
use crate::peer::Peer;

/// What a client pushes a new token as, on any of its channels.
pub(super) const ACCESS_TOKEN: &str = "access_token";

#[derive(Deserialize)]
struct Renewal {
    access_token: String,
}

/// What the token says of the client, if it may come in.
///
/// The reason of a refusal is for whoever runs the server; it does not repeat the token.
pub(super) fn admit(settings: &Settings, token: Option<&str>, unix_time: Duration) -> Result<Option<Claims>, String> {
    let Some(verifier) = &settings.verifier else { return Ok(None) };
    let token = token.ok_or("there is no token")?;
    let claims = verifier.verify(token, unix_time).map_err(|error| error.to_string())?;
    settings.requirement.check(&claims, unix_time).map_err(|denied| denied.to_string())?;
    Ok(Some(claims))
}

/// Lets a client stay that has brought a new token of its own.
///
/// # Errors
/// With what the client is told.
pub(super) fn renew(
    settings: &Settings,
    peer: &Peer,
    identity: &Identity,
    payload: &Payload,
    (unix_time, now): (Duration, Timestamp),
) -> Result<(), Payload> {
    let Ok(Renewal { access_token }) = payload.parse::<Renewal>() else {
        return Err(with_reason("no access_token"));
    };
    let claims = match admit(settings, Some(&access_token), unix_time) {
        Ok(Some(claims)) => claims,
        _ => return Err(with_reason("unauthorized")),
    };
    if identity.claims().is_some_and(|known| known.user_id != claims.user_id) {
        return Err(with_reason("the token is another user's"));
    }
    peer.authenticate(expiry(&claims, unix_time, now));
    identity.renew(claims);
    Ok(())
}

/// When the token of a client expires, in the server's time.
pub(super) fn expiry(claims: &Claims, unix_time: Duration, now: Timestamp) -> Option<Timestamp> {
    claims.valid_until().map(|at| now.saturating_add(at.saturating_sub(unix_time)))
}
