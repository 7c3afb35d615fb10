//! Storms over a Supabase session: any commands, any answers of its token provider, any clock, and a
//! server that refuses, closes, crashes and forgets, while an oracle checks every promise.

mod crowd;
mod extras;
mod op;
mod oracle;
mod order;
mod pushes;
mod room;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use rejoin_core::phoenix::{ConnectionState, Overflow};
use rejoin_core::supabase::{AccessToken, ChangeKind, ChannelState, Config, Session, TokenFailure};
use rejoin_core::wire::Serializer;
use rejoin_core::{ConnId, Jitter, Machine, OpenError, Text, Timestamp, TransportEvent};

pub use crowd::{Act, Deed};
pub use op::{Op, Provider, Web};
pub use order::Order;
pub use room::{Change, Interest, Room};

use crate::rng::Rng;
use crate::storm::{Polls, panic_text};
use crate::supabase::{Echo, Lab, PeerConfig, PresenceState, Readiness};
use crate::supabase_script::{EPOCH, supabase_config, token};
use crate::weather::{Climate, Dial};
use oracle::Oracle;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupabaseStorm {
    /// Decides the client's configuration and the dice of the network.
    pub seed: u64,
    /// What the network does to frames.
    pub climate: Climate,
    /// What happens, and how many milliseconds after what happened before.
    pub ops: Vec<(u32, Op)>,
}

/// How the client is treated where it must not care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// In which order the lanes are drained.
    pub polls: Polls,
    /// Whether timeouts come when nothing is due.
    pub spurious: bool,
    /// Whether connections that are over are heard of once more.
    pub stale: bool,
}

impl Treatment {
    /// What a driver does.
    pub const PLAIN: Self = Self { polls: Polls::TransportFirst, spurious: false, stale: false };
}

/// How a run went that broke no promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// Hash of everything that the client told its transport, with times.
    pub actions: u64,
    /// Hash of everything that the client reported, with times.
    pub events: u64,
    /// What kinds of events were reported, such as `SubscribeFailed NoToken Expired`.
    pub kinds: BTreeSet<String>,
}

impl SupabaseStorm {
    /// The storm of a seed: about a hundred operations.
    #[must_use]
    pub fn of_seed(seed: u64, climate: Climate) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let count = 20 + rng.below(100);
        let mut ops = vec![(0, Op::Connect)];
        ops.extend((0..count).map(|_| (Op::pause(&mut rng), Op::random(&mut rng))));
        Self { seed, climate, ops }
    }

    /// The storm of some choices, a fuzzer's.
    #[must_use]
    pub fn of_choices(seed: u64, climate: Climate, choices: &[u32]) -> Self {
        let op = |choice: &u32| {
            let mut rng = Rng::new((*choice).into());
            (Op::pause(&mut rng), Op::random(&mut rng))
        };
        let ops = std::iter::once((0, Op::Connect)).chain(choices.iter().map(op)).collect();
        Self { seed, climate, ops }
    }

    /// Plays the storm; then, if it was lawful, heals the world and checks that everything comes
    /// back; and closes.
    ///
    /// # Errors
    /// What was wrong: the promises that were broken, or the panic.
    pub fn run(&self, treatment: Treatment) -> Result<Transcript, String> {
        let mut played = Vec::new();
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(self, treatment);
            self.play(&mut world, &mut played);
            world.lab
        }));
        let said = |what: String| format!("{what}\nafter {:?}", &played[played.len().saturating_sub(12)..]);
        let lab = run.map_err(|panic| said(format!("panicked: {}", panic_text(&*panic))))?;
        match lab.watch.violations() {
            [] => Ok(lab.watch.transcript()),
            wrong => Err(said(format!("at {}: {}", lab.now, wrong.join("; ")))),
        }
    }

    fn play(&self, world: &mut World, played: &mut Vec<(Timestamp, Op)>) {
        let honest = |op: &Op| self.climate == Climate::Hostile || !matches!(op, Op::Server(Order::Lie(..)));
        for (after_ms, op) in self.ops.iter().filter(|(_, op)| honest(op)) {
            world.lab.advance(Duration::from_millis((*after_ms).into()));
            played.push((world.lab.now, op.clone()));
            world.apply(op);
            if !world.lab.watch.violations().is_empty() {
                return;
            }
        }
        if self.climate == Climate::Lawful {
            world.heal();
            // The longest wait for the next attempt, its refusal, the longest wait for the next join
            // and its refusal, some of them more than once.
            world.lab.advance(Duration::from_secs(300));
            world.check_liveness();
        }
        world.close_and_check();
    }

    /// The client's configuration: the defaults with small queues, now and then otherwise.
    fn config(&self) -> Config {
        let mut rng = Rng::new(self.seed);
        let mut config = supabase_config();
        config.token_provider = rng.chance(650);
        config.access_token = rng.chance(300).then(|| token(Duration::from_secs(10 + rng.below(1_000)), 1_000));
        config.authorization = rng.chance(300);
        config.text_broadcasts = rng.chance(200);
        let patience = [Some(Duration::ZERO), Some(Duration::from_secs(5)), config.disconnect_when_empty, None];
        config.disconnect_when_empty = rng.pick(&patience);
        config.http_fallback = rng.chance(300);
        config.http_broadcasts = 1 + rng.below(4) as usize;
        let phoenix = &mut config.phoenix;
        (phoenix.jitter, phoenix.jitter_seed) = (Jitter::Equal, rng.number());
        if rng.chance(200) {
            phoenix.serializer = Serializer::V1;
        }
        let limits = &mut phoenix.limits;
        limits.joins_per_second = NonZeroU32::new(rng.pick(&[0, 1, 2, 3, 50]));
        limits.joins_in_flight = 1 + rng.below(4) as usize;
        limits.channels = 2 + rng.below(6) as usize;
        limits.push_buffer = 1 + rng.below(6) as usize;
        limits.send_buffer = 1 + rng.below(10) as usize;
        limits.pending_replies = 2 + rng.below(10) as usize;
        limits.overflow = rng.pick(&[Overflow::RejectNew, Overflow::DropOldest, Overflow::DropNewest]);
        config
    }

    /// The server's: what servers do, one so and one otherwise.
    fn project(&self) -> PeerConfig {
        let mut rng = Rng::new(self.seed ^ 0x9ee6);
        let later = Duration::from_millis(rng.below(3_000));
        let states =
            [PresenceState::Joined, PresenceState::Joined, PresenceState::Late(later), PresenceState::Twice(later)];
        let readiness = [
            Readiness::Ready,
            Readiness::Ready,
            Readiness::Early,
            Readiness::Never,
            Readiness::Failing("Unable to subscribe to changes".into()),
        ];
        let echoes = [Echo::Exact, Echo::Nulls, Echo::NoStars, Echo::UpperCase, Echo::NoSelect, Echo::Reversed];
        PeerConfig {
            presence_state: rng.pick(&states),
            readiness: rng.pick(&readiness),
            echo: if rng.chance(50) { Echo::OtherSchema } else { rng.pick(&echoes) },
            postgres_delay: Duration::from_millis(rng.pick(&[1, 300, 3_000])),
            persists: rng.chance(500),
            ..PeerConfig::default()
        }
    }
}

/// A lab and the client's token provider.
struct World {
    lab: Lab<Oracle>,
    provider: Rc<RefCell<Provider>>,
    treatment: Treatment,
    /// Whether the server has ever forgotten a channel, of which nobody hears who says nothing there.
    forgot: bool,
}

impl World {
    fn new(storm: &SupabaseStorm, treatment: Treatment) -> Self {
        let config = storm.config();
        let watch = Oracle::new(&config, storm.climate);
        let mut lab = Lab::watched(config, storm.project(), watch);
        lab.weather(storm.climate, storm.seed);
        lab.watch.wall(Timestamp::ZERO, EPOCH, true);
        lab.polls = treatment.polls;
        let provider = Rc::new(RefCell::new(Provider::Fresh { expires_in_s: 100 }));
        let (state, mut last) = (Rc::clone(&provider), 0);
        lab.provides(move |now| provide(&state.borrow(), &mut last, now));
        Self { lab, provider, treatment, forgot: false }
    }

    fn apply(&mut self, op: &Op) {
        op.apply(&mut self.lab, &self.provider);
        self.forgot |= *op == Op::Server(Order::Forget);
        if self.treatment.spurious {
            self.lab.with(|client, now| client.handle_timeout(now));
        }
        if self.treatment.stale {
            self.hear_of_the_past();
        }
    }

    /// Connections that are over speak once more.
    fn hear_of_the_past(&mut self) {
        let current = self.lab.client.connection();
        let dialled = self.lab.dials.iter().map(|(_, request)| request.conn);
        let past: Vec<ConnId> = dialled.filter(|conn| Some(*conn) != current).collect();
        for conn in past {
            let refused = r#"[null,null,"realtime:a","phx_close",{}]"#;
            for event in [
                TransportEvent::OpenFailed { conn, error: OpenError::io("late") },
                TransportEvent::Received { conn, frame: rejoin_core::Frame::Text(refused.into()) },
                TransportEvent::Closed { conn, code: Some(1012), reason: Text::EMPTY },
            ] {
                self.lab.with(|client, now| client.handle_transport(now, event));
            }
        }
    }

    /// Clocks agree, the network carries, and the user is signed in with a token that lasts.
    fn heal(&mut self) {
        let lasting = lasting();
        *self.provider.borrow_mut() = Provider::Lasting;
        self.lab.provider_delay = Duration::ZERO;
        self.lab.dialling(Dial::Accept);
        Op::Server(Order::Relent).apply(&mut self.lab, &self.provider);
        Op::Web(Web::Works).apply(&mut self.lab, &self.provider);
        Op::WallClock { ahead_s: 0 }.apply(&mut self.lab, &self.provider);
        for id in self.lab.client.channels().map(|(id, ..)| id).collect::<Vec<_>>() {
            // It may have gone in the meantime.
            let _ = self.lab.with(|client, now| client.set_channel_auth(now, id, None));
        }
        self.lab.watch.signs_in();
        let signed_in = self.lab.with(|client, now| client.set_auth(now, lasting));
        if let Err(error) = signed_in {
            self.lab.watch.accuse(format!("a token that lasts is not taken: {error}"));
        }
        self.lab.with(if self.forgot { Session::reconnect } else { Session::connect });
    }

    /// L1 and L2: who may be in its channel is in it, and every push is over.
    fn check_liveness(&mut self) {
        let channels: Vec<_> =
            self.lab.client.channels().map(|(id, topic, state)| (id, topic.clone(), state)).collect();
        if !channels.is_empty() && self.lab.client.state() != ConnectionState::Connected {
            self.lab.watch.accuse(format!("L1: {:?} in fair weather", self.lab.client.state()));
        }
        for (id, topic, state) in channels {
            let wanted =
                if self.lab.watch.is_forbidden(id) { ChannelState::AwaitingToken } else { ChannelState::Joined };
            if state != wanted {
                self.lab.watch.accuse(format!("L1: {topic} is {state:?} in fair weather, not {wanted:?}"));
            }
        }
        self.lab.watch.expects_all_done();
        self.check_extras();
    }

    /// L3: what the server shows and tells is what the client knows.
    fn check_extras(&mut self) {
        if matches!(self.lab.project.config.readiness, Readiness::Ready | Readiness::Early) {
            for kind in [ChangeKind::Insert, ChangeKind::Delete] {
                for table in ["todos", "notes"] {
                    let change = Change { table, kind, n: 7 };
                    let row = self.lab.watch.changes(change);
                    self.lab.change(&change.of_row(row));
                    self.lab.advance(Duration::from_millis(100));
                    self.lab.watch.expects_awareness(row);
                }
            }
        }
        self.lab.watch.expects_settled(&self.lab.client, &self.lab.project.commons);
        let unmatched = self.lab.client.stats().unmatched_changes;
        if unmatched > 0 {
            self.lab.watch.accuse(format!("{unmatched} changes are for no binding"));
        }
    }

    /// L4: `close` ends everything.
    fn close_and_check(&mut self) {
        self.lab.with(Session::close);
        self.lab.advance(Duration::from_secs(10));
        if !self.lab.client.is_finished() || self.lab.client.poll_timeout().is_some() {
            let (state, deadline) = (self.lab.client.state(), self.lab.client.poll_timeout());
            self.lab.watch.accuse(format!("L4: {state:?} after close, with the deadline {deadline:?}"));
        }
        self.lab.watch.expects_all_done();
        self.lab.watch.expects_all_closed();
    }
}

/// What every user has in fair weather.
fn lasting() -> AccessToken {
    token(Duration::from_secs(10_000_000), 0)
}

fn provide(provider: &Provider, last: &mut u32, now: Timestamp) -> Result<Option<AccessToken>, TokenFailure> {
    let expires_in = |s: u32| now.saturating_since(Timestamp::ZERO) + Duration::from_secs(s.into());
    match provider {
        Provider::Lasting => Ok(Some(lasting())),
        Provider::Fresh { expires_in_s } => {
            *last += 1;
            Ok(Some(token(expires_in(*expires_in_s), *last)))
        }
        // It began to be handed out long ago.
        Provider::Same => Ok(Some(token(Duration::from_secs(5_000), 500))),
        Provider::Expired => Ok(Some(token(Duration::from_secs(1), 501))),
        Provider::Fails => Err(TokenFailure::Provider("no network".into())),
        Provider::SignedOut => Ok(None),
    }
}
