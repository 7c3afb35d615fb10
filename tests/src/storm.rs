//! A storm: a seed, a climate and operations, played in a world under the oracle's eyes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rejoin_core::phoenix::{Config, Overflow};
use rejoin_core::wire::Serializer;
use rejoin_core::{Backoff, Timestamp};
use rejoin_recording::Row;

use crate::op::{Op, Timed};
use crate::rng::Rng;
use crate::weather::Climate;
use crate::world::World;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// Decides the client's configuration and the dice of the network.
    pub seed: u64,
    /// What the network may do.
    pub climate: Climate,
    /// What happens.
    pub ops: Vec<Timed>,
}

/// How the world treats the client where the client must not care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habit {
    /// In which order the lanes are drained.
    pub polls: Polls,
    /// Whether `handle_timeout` is also called when nothing is due, and twice.
    pub spurious: bool,
}

/// In which order the lanes are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polls {
    /// All actions, then all events.
    TransportFirst,
    /// All events, then all actions.
    EventsFirst,
    /// One of each in turn.
    InTurn,
}

impl Habit {
    /// What a driver does.
    pub const PLAIN: Self = Self { polls: Polls::TransportFirst, spurious: false };
}

/// How a run went that broke no promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of everything that the client told its transport, with times.
    pub actions: u64,
    /// Hash of everything that the client reported, with times.
    pub events: u64,
    /// How many events that were.
    pub event_count: usize,
    /// How many pushes were accepted.
    pub pushes: usize,
}

impl Storm {
    /// The storm of a seed: about a hundred operations.
    #[must_use]
    pub fn of_seed(seed: u64, climate: Climate) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let count = 20 + rng.below(120);
        let mut ops = vec![Timed { after_ms: 0, op: Op::Connect }];
        ops.extend((0..count).map(|_| Timed::random(&mut rng)));
        Self { seed, climate, ops }
    }

    /// Plays the storm; then heals the world, checks that everything comes back, and closes.
    ///
    /// # Errors
    /// What was wrong: the promises that were broken, or the panic.
    pub fn run(&self) -> Result<Outcome, String> {
        self.run_with(Habit::PLAIN)
    }

    /// The same with other habits.
    ///
    /// # Errors
    /// What was wrong.
    pub fn run_with(&self, habit: Habit) -> Result<Outcome, String> {
        let played = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(self.config(), self.climate, self.seed, habit);
            self.play(&mut world);
            world
        }));
        let world = played.map_err(|panic| format!("panicked: {}", panic_text(&*panic)))?;
        match world.violations() {
            [] => Ok(Outcome {
                actions: world.recorder.actions.finish(),
                events: world.recorder.events.finish(),
                event_count: world.recorder.event_count,
                pushes: world.accepted_pushes(),
            }),
            wrong => Err(format!("at {}: {}", world.now(), wrong.join("; "))),
        }
    }

    /// Plays the storm once more and writes down what happens; the operations come back out of the
    /// rows with [`read_trace`](crate::read_trace).
    #[must_use]
    pub fn trace(&self) -> Vec<Row> {
        let mut world = World::new(self.config(), self.climate, self.seed, Habit::PLAIN);
        world.recorder.start(self);
        // A panic ends the trace where it happened; whoever asks for a trace has seen the panic.
        drop(catch_unwind(AssertUnwindSafe(|| self.play(&mut world))));
        world.take_rows()
    }

    fn play(&self, world: &mut World) {
        let mut at = Timestamp::ZERO;
        for Timed { after_ms, op } in &self.ops {
            at = at.saturating_add(Duration::from_millis((*after_ms).into()));
            world.run_until(at);
            world.apply(op);
            if !world.violations().is_empty() {
                return;
            }
        }
        world.run_until(at);
        world.heal();
        // A death is noticed within 40 s, even while joins extend the deadline; then come the longest
        // reconnect delay, an attempt, the longest rejoin delay and a join.
        world.run_until(world.now().saturating_add(Duration::from_secs(400)));
        if world.violations().is_empty() {
            world.check_liveness();
            world.close_and_check();
        }
    }

    /// The client's configuration: the defaults with small queues, now and then otherwise.
    fn config(&self) -> Config {
        let mut rng = Rng::new(self.seed);
        let mut config = crate::script::config();
        config.jitter = rejoin_core::Jitter::Equal;
        config.jitter_seed = rng.number();
        if rng.chance(250) {
            config.serializer = Serializer::V1;
        }
        if rng.chance(100) {
            let (initial, max) = (Duration::from_millis(10), Duration::from_secs(20));
            config.reconnect = Backoff::Exponential { initial, factor: 2.0, max };
        }
        let limits = &mut config.limits;
        limits.channels = 2 + rng.below(6) as usize;
        limits.joins_in_flight = 1 + rng.below(3) as usize;
        limits.push_buffer = 1 + rng.below(6) as usize;
        limits.send_buffer = 1 + rng.below(10) as usize;
        limits.send_buffer_bytes = 40 + rng.below(100) as usize;
        limits.pending_replies = 2 + rng.below(10) as usize;
        limits.outbound_frames = 1 + rng.below(6) as usize;
        limits.events = 4 + rng.below(40) as usize;
        limits.overflow = rng.pick(&[Overflow::RejectNew, Overflow::DropOldest, Overflow::DropNewest]);
        config
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
