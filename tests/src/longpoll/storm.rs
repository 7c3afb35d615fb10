//! Storms over long-poll: what storms do to a socket, done to HTTP, and a server that restarts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rejoin_core::phoenix::{Config, Overflow, Transport};
use rejoin_core::wire::Serializer;
use rejoin_core::{Jitter, Timestamp, TransportKind};

use super::LongPollWorld;
use crate::op::{Op, Timed};
use crate::rng::Rng;
use crate::storm::panic_text;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongPollStorm {
    /// Decides the client's configuration.
    pub seed: u64,
    /// What happens, and how many milliseconds after what happened before.
    pub ops: Vec<(u16, LongPollOp)>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LongPollOp {
    /// One that storms over a socket have too.
    Common(Op),
    /// The server is restarted.
    Restart,
    /// So many answers of the server are lost.
    LoseAnswers(u8),
}

impl LongPollStorm {
    /// The storm of a seed: about a hundred operations.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let count = 20 + rng.below(120);
        let mut ops = vec![(0, LongPollOp::Common(Op::Connect))];
        for _ in 0..count {
            let Timed { after_ms, op } = Timed::random(&mut rng);
            ops.push(match rng.below(20) {
                0 => (after_ms, LongPollOp::Restart),
                1 => (after_ms, LongPollOp::LoseAnswers(1 + rng.below(3) as u8)),
                _ => (after_ms, LongPollOp::Common(op)),
            });
        }
        Self { seed, ops }
    }

    /// Plays the storm; then heals the world, checks that everything comes back, and closes.
    ///
    /// # Errors
    /// What was wrong: the promises that were broken, or the panic.
    pub fn run(&self) -> Result<LongPollWorld, String> {
        let played = catch_unwind(AssertUnwindSafe(|| self.play()));
        let world = played.map_err(|panic| format!("panicked: {}", panic_text(&*panic)))?;
        match world.violations() {
            [] => Ok(world),
            wrong => Err(format!("at {}: {}", world.now(), wrong.join("; "))),
        }
    }

    fn play(&self) -> LongPollWorld {
        let mut world = LongPollWorld::new(self.config());
        let mut at = Timestamp::ZERO;
        for (after_ms, op) in &self.ops {
            at = at.saturating_add(Duration::from_millis((*after_ms).into()));
            world.run_until(at);
            match op {
                LongPollOp::Common(op) => world.apply(op),
                LongPollOp::Restart => world.restart_server(),
                LongPollOp::LoseAnswers(count) => world.lose_answers(*count),
            }
            if !world.violations().is_empty() {
                return world;
            }
        }
        world.heal();
        // An exchange may take 20 s to be given up, an attempt 10 s, and then come the delays.
        world.advance(Duration::from_secs(400));
        if world.violations().is_empty() {
            world.check_liveness();
            world.close_and_check();
        }
        world
    }

    fn config(&self) -> Config {
        let mut rng = Rng::new(self.seed);
        let mut config = crate::script::config();
        (config.jitter, config.jitter_seed) = (Jitter::Equal, rng.number());
        config.transport = Transport::LongPoll;
        if rng.chance(300) {
            (config.transport, config.fallback_memory) = (Transport::AUTO, TransportKind::LongPoll);
        }
        if rng.chance(300) {
            config.serializer = Serializer::V1;
        }
        let limits = &mut config.limits;
        limits.joins_in_flight = 1 + rng.below(3) as usize;
        limits.push_buffer = 1 + rng.below(6) as usize;
        limits.send_buffer = 1 + rng.below(10) as usize;
        limits.pending_replies = 2 + rng.below(10) as usize;
        limits.outbound_frames = 1 + rng.below(6) as usize;
        limits.events = 4 + rng.below(40) as usize;
        limits.overflow = rng.pick(&[Overflow::RejectNew, Overflow::DropOldest, Overflow::DropNewest]);
        config
    }
}
