//! The WebSocket part of an upgrade: what its headers have to say, and what is said in return.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

use super::{Admission, RequestHead, ResponseHead, Upgrade};
use crate::text::Text;

/// What a key is hashed with (RFC 6455, section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol that Phoenix's clients offer besides the one that carries their token.
const PHOENIX: &str = "phoenix";

/// The head that accepts the handshake, or the one that says what is wrong with it.
pub(super) fn answer(request: &RequestHead<'_>) -> Result<ResponseHead, ResponseHead> {
    if request.method() != "GET" {
        return Err(ResponseHead::new(405).with("allow", Text::from_static("GET")));
    }
    let asks = |name, word: &str| request.list(name).any(|item| item.eq_ignore_ascii_case(word));
    if !asks("connection", "upgrade") || !asks("upgrade", "websocket") {
        return Err(switching(426));
    }
    if request.only("sec-websocket-version") != Some("13") {
        return Err(ResponseHead::new(426).with("sec-websocket-version", Text::from_static("13")));
    }
    let key = request.only("sec-websocket-key").filter(|key| BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16));
    let Some(key) = key else { return Err(ResponseHead::new(400)) };
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Ok(switching(101).with("sec-websocket-accept", BASE64.encode(hash)))
}

/// Completes the head with the subprotocol: a client that offers some may insist on one.
pub(super) fn upgrade(request: &RequestHead<'_>, response: ResponseHead, admission: Admission) -> Upgrade {
    if request.list("sec-websocket-protocol").any(|offered| offered == PHOENIX) {
        let phoenix = Text::from_static(PHOENIX);
        let response = response.with("sec-websocket-protocol", phoenix.clone());
        Upgrade { admission, subprotocol: Some(phoenix), response }
    } else {
        Upgrade { admission, subprotocol: None, response }
    }
}

fn switching(status: u16) -> ResponseHead {
    ResponseHead::new(status)
        .with("connection", Text::from_static("upgrade"))
        .with("upgrade", Text::from_static("websocket"))
}
