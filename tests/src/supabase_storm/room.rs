//! What a channel is subscribed with, and what follows from it.

use rejoin_core::supabase::{
    ChangeKind, ChannelConfig, PostgresBinding, PostgresEvent, RejoinPolicy, Replay, UnixMillis,
};

use crate::rng::Rng;
use crate::supabase::RowChange;
use crate::supabase_script::EPOCH;

/// The topics that anything happens to.
pub(super) const TOPICS: [&str; 6] =
    ["realtime:a", "realtime:b", "realtime:priv:rw:1", "realtime:priv:rw:2", "realtime:priv:ro:1", "realtime:closed"];

/// How a channel is subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Which topic.
    pub topic: &'static str,
    /// Whether it is private.
    pub private: bool,
    /// Whether it is joined without a token.
    pub anonymous: bool,
    /// Whether broadcasts are acknowledged.
    pub ack: bool,
    /// What follows when the server closes it.
    pub rejoin: RejoinPolicy,
    /// Whether it is joined with presence.
    pub presence: bool,
    /// Whether what it tracks is tracked again after a rejoin.
    pub retrack: bool,
    /// Which database changes it wants.
    pub interest: Interest,
    /// Whether it wants the stored broadcasts.
    pub replay: bool,
}

/// Which database changes a channel wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// None.
    Nothing,
    /// Every one of a table.
    Table,
    /// Some twice.
    Twice,
    /// Of every table, of some rows, and of one kind.
    Overlapping,
}

/// A row that came, changed or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which table.
    pub table: &'static str,
    /// What happened.
    pub kind: ChangeKind,
    /// The value of its column `n`.
    pub n: u8,
}

impl Room {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let topic = rng.pick(&TOPICS);
        let private = topic.contains("priv") || rng.chance(150);
        let interests = [Interest::Nothing, Interest::Table, Interest::Twice, Interest::Overlapping];
        Self {
            topic,
            private,
            anonymous: rng.chance(100),
            ack: rng.chance(500),
            rejoin: rng.pick(&[RejoinPolicy::OnRetryableReason, RejoinPolicy::Always, RejoinPolicy::Never]),
            presence: rng.chance(600),
            retrack: rng.chance(800),
            interest: rng.pick(&interests),
            replay: private && rng.chance(500),
        }
    }

    pub(super) fn config(self) -> ChannelConfig {
        let mut config = ChannelConfig::default().rejoin(self.rejoin);
        (config.private, config.anonymous, config.broadcast.ack) = (self.private, self.anonymous, self.ack);
        config.presence.enabled = self.presence;
        config.presence.retrack = self.retrack;
        config.broadcast.replay = self.replay.then(|| Replay::since(UnixMillis::from_secs(EPOCH.as_secs())));
        config.postgres_changes = self.interest.bindings();
        config
    }
}

impl Interest {
    fn bindings(self) -> Vec<PostgresBinding> {
        let of = PostgresBinding::new;
        match self {
            Self::Nothing => Vec::new(),
            Self::Table => vec![of(PostgresEvent::All).table("todos")],
            Self::Twice => {
                let inserts = of(PostgresEvent::Insert).table("todos");
                vec![inserts.clone(), of(PostgresEvent::Delete).table("notes"), inserts]
            }
            Self::Overlapping => vec![
                of(PostgresEvent::All),
                of(PostgresEvent::All).table("todos").filter("n=gt.5"),
                of(PostgresEvent::Update).table("todos"),
            ],
        }
    }

    /// The places of the bindings that a change is for.
    pub(super) fn places(self, change: Change) -> Vec<usize> {
        let Change { table, kind, n } = change;
        let todos = table == "todos";
        let is_for: &[bool] = match self {
            Self::Nothing => &[],
            Self::Table => &[todos],
            Self::Twice => {
                let inserted = todos && kind == ChangeKind::Insert;
                &[inserted, table == "notes" && kind == ChangeKind::Delete, inserted]
            }
            Self::Overlapping => &[true, todos && n > 5, todos && kind == ChangeKind::Update],
        };
        is_for.iter().enumerate().filter_map(|(place, is_for)| is_for.then_some(place)).collect()
    }
}

impl Change {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let kind = rng.pick(&[ChangeKind::Insert, ChangeKind::Update, ChangeKind::Delete]);
        Self { table: rng.pick(&["todos", "notes"]), kind, n: rng.below(10) as u8 }
    }

    /// The change of the row of this number.
    pub(super) fn of_row(self, id: u32) -> RowChange {
        let row = serde_json::json!({ "id": id, "n": self.n });
        match self.kind {
            ChangeKind::Insert => RowChange::insert(self.table, &row),
            ChangeKind::Delete => RowChange::delete(self.table, &row),
            _ => RowChange::update(self.table, &serde_json::json!({ "id": id }), &row),
        }
    }
}
