//! The host of a long-poll endpoint: the table of sessions that the core leaves to it.

use std::collections::BTreeMap;

use rejoin_core::http::{HttpId, HttpRequest};
use rejoin_core::phoenix::{
    LongPollCall, LongPollConfig, LongPollPeer, LongPollResponse, RequestHead, ServerConfig, ServerSession,
    UpgradeConfig,
};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, Machine, Text, Timestamp};

use crate::app::{App, Server};

#[derive(Debug, Default)]
pub(super) struct Gateway {
    pub(super) app: App,
    sites: BTreeMap<Text, Site>,
    /// How many sessions there were.
    pub(super) admitted: u64,
    answers: Vec<(u64, LongPollResponse)>,
}

/// One client's session.
#[derive(Debug)]
pub(super) struct Site {
    peer: LongPollPeer,
    pub(super) server: Server,
}

impl Gateway {
    /// A request arrives.
    pub(super) fn request(&mut self, now: Timestamp, number: u64, request: &HttpRequest) -> Result<(), String> {
        let id = HttpId::new(number);
        let target = request.url.strip_prefix("http://sim").unwrap_or_default();
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let head = RequestHead::new(request.method.as_str(), target, headers);
        let (token, response) = match LongPollCall::of(&head) {
            LongPollCall::Poll { token } => match token.and_then(|token| self.sites.get_key_value(&token)) {
                Some((token, _)) => (token.clone(), None),
                None => {
                    let admission = UpgradeConfig::default().admit(&head);
                    let admission = admission.map_err(|refused| format!("the client is not let in: {refused:?}"))?;
                    let token = self.admit(now, admission.serializer);
                    (token.clone(), Some(LongPollResponse::opened(&token)))
                }
            },
            LongPollCall::Push { token, body } => {
                let token = token.unwrap_or_default();
                match self.sites.get_mut(&token) {
                    Some(site) => {
                        site.peer.push(now, id, body, &request.body);
                        return self.settle(now, &token);
                    }
                    None => (token, Some(LongPollResponse::gone())),
                }
            }
            other => return Err(format!("the client asks for what needs no session: {other:?}")),
        };
        if let Some(response) = response {
            self.answers.push((number, response));
        } else if let Some(site) = self.sites.get_mut(&token) {
            site.peer.poll(now, id);
        }
        self.settle(now, &token)
    }

    pub(super) fn hung_up(&mut self, number: u64) {
        self.sites.values_mut().for_each(|site| site.peer.hung_up(HttpId::new(number)));
    }

    /// The answers that are ready, by the numbers of their exchanges.
    pub(super) fn answers(&mut self) -> Vec<(u64, LongPollResponse)> {
        std::mem::take(&mut self.answers)
    }

    /// Everybody is forgotten.
    pub(super) fn restart(&mut self) {
        self.sites.clear();
    }

    /// The session that was admitted last.
    pub(super) fn last(&mut self) -> Option<(Text, &mut Site, &mut App)> {
        let token = token_of(self.admitted);
        let site = self.sites.get_mut(&token)?;
        Some((token, site, &mut self.app))
    }

    pub(super) fn next(&self) -> Option<Timestamp> {
        let of = |site: &Site| {
            [site.peer.poll_timeout(), site.server.session.poll_timeout(), site.server.next_answer()]
                .into_iter()
                .flatten()
                .min()
        };
        self.sites.values().filter_map(of).min()
    }

    /// Time has passed.
    pub(super) fn wake(&mut self, now: Timestamp) -> Result<(), String> {
        let tokens: Vec<_> = self.sites.keys().cloned().collect();
        for token in tokens {
            let Some(site) = self.sites.get_mut(&token) else { continue };
            site.peer.handle_timeout(now);
            site.server.session.handle_timeout(now);
            site.server.answer_slow(now);
            if [site.peer.poll_timeout(), site.server.session.poll_timeout()].iter().flatten().any(|at| *at <= now) {
                return Err(format!("S7: a deadline is left behind: {:?}", site.peer));
            }
            self.settle(now, &token)?;
        }
        Ok(())
    }

    /// Carries what the two halves of a session have for each other to and fro.
    pub(super) fn settle(&mut self, now: Timestamp, token: &Text) -> Result<(), String> {
        let Some(Site { peer, server }) = self.sites.get_mut(token) else { return Ok(()) };
        loop {
            let mut moved = false;
            while let Some(event) = peer.poll_event() {
                server.session.handle_transport(now, event);
                moved = true;
            }
            self.app.react(now, server)?;
            while let Some(action) = server.session.poll_transport() {
                peer.handle_action(now, action);
                moved = true;
            }
            if !moved {
                break;
            }
        }
        self.answers.extend(std::iter::from_fn(|| peer.poll_response()).map(|(id, response)| (id.get(), response)));
        if server.malformed {
            return Err("S12: the server calls the client malformed".into());
        }
        if peer.is_finished() {
            if !server.ended {
                return Err("a session outlives its connection".into());
            }
            self.sites.remove(token);
        }
        Ok(())
    }

    fn admit(&mut self, now: Timestamp, serializer: Serializer) -> Text {
        self.admitted += 1;
        let (conn, token) = (ConnId::new(self.admitted), token_of(self.admitted));
        let mut config = ServerConfig::new(serializer);
        // Polling is the sign of life.
        config.idle_timeout = None;
        let server = Server::new(ServerSession::new(config, conn, now));
        let peer = LongPollPeer::new(LongPollConfig::default(), conn, token.clone(), now);
        self.sites.insert(token.clone(), Site { peer, server });
        token
    }
}

fn token_of(number: u64) -> Text {
    format!("session-{number}").into()
}
