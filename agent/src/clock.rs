//! The wall clock, read in few places and passed on as a number; and one that does not jump.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 where the clock is before it.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    ms.saturating_add_signed(set_off_ms())
}

/// Milliseconds since the machine was started, asleep or not: nobody sets this clock, and all
/// processes of the machine read the same (`CLOCK_BOOTTIME`).
#[must_use]
pub fn boot_ms() -> u64 {
    let passed = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    let passed = passed.map(Duration::from).unwrap_or_default();
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}

/// By how much a test has set the clock: what the file holds that `LOADLINE_CLOCK_OFFSET` names.
/// Debug builds only.
#[cfg(debug_assertions)]
fn set_off_ms() -> i64 {
    use std::ffi::OsString;
    use std::sync::OnceLock;

    static FILE: OnceLock<Option<OsString>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("LOADLINE_CLOCK_OFFSET"));
    let Some(file) = file else { return 0 };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[cfg(not(debug_assertions))]
const fn set_off_ms() -> i64 {
    0
}

/// A smaller difference to the wall clock is none.
const JUMP_MS_MIN: i64 = 1_000;

/// Begins as the wall clock and goes on evenly, whatever that is set to: what is waited for by it
/// comes in time.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    base_ms: u64,
    since: Instant,
}

impl Steady {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { base_ms: now_ms(), since: Instant::now() }
    }

    /// Milliseconds since the Unix epoch, if nobody has set the clock.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let passed = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.base_ms.saturating_add(passed)
    }

    /// How far the wall clock has jumped ahead (or back: negative) since the start.
    #[must_use]
    pub fn jumped_ms(&self) -> i64 {
        let ahead = i128::from(now_ms()) - i128::from(self.now_ms());
        let ahead = i64::try_from(ahead).unwrap_or(0);
        if ahead.abs() < JUMP_MS_MIN { 0 } else { ahead }
    }

    /// A time of the wall clock, as of now, by this one.
    #[must_use]
    pub fn from_wall(&self, at_ms: u64) -> u64 {
        at_ms.saturating_add_signed(-self.jumped_ms())
    }
}
