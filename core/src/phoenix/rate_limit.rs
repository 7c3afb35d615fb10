//! How often the client may do something.

/// So many a second in the long run, and so many at once.
///
/// In any span of `t` seconds at most `burst + per_second * t` are let through. What is refused counts
/// for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many a second.
    pub per_second: u32,
    /// How many at once, after a pause that was long enough.
    pub burst: u32,
}

impl RateLimit {
    /// So many a second, and as many at once.
    #[must_use]
    pub const fn per_second(per_second: u32) -> Self {
        Self { per_second, burst: per_second }
    }

    /// The same with another burst.
    #[must_use]
    pub const fn with_burst(self, burst: u32) -> Self {
        Self { burst, ..self }
    }
}
