//! Time to live: how long an entry is kept.

use std::time::Duration;

use crate::error::{CacheError, ErrorKind};

/// How long an entry lives.
///
/// Lifetimes have millisecond resolution; a part of a millisecond counts as a whole one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// Whatever the store was configured with.
    #[default]
    Default,
    /// Until it is deleted, evicted or overwritten.
    Never,
    /// For this long.
    After(Duration),
}

impl Ttl {
    /// The longest lifetime: 100 years.
    ///
    /// Redis takes up to about 285 million years and refuses `i64::MAX` milliseconds; a bound that no use needs keeps all
    /// arithmetic on clocks safe.
    pub const MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

    /// Checks the bounds and rounds up to whole milliseconds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidTtl`] when the lifetime is zero or above [`Ttl::MAX`].
    pub fn validated(self) -> Result<Self, CacheError> {
        match self {
            Self::Default | Self::Never => Ok(self),
            Self::After(Duration::ZERO) => {
                Err(CacheError::new(ErrorKind::InvalidTtl, "ttl is zero; delete the key instead"))
            }
            Self::After(ttl) if ttl > Self::MAX => {
                let message =
                    format!("ttl of {} s is above the maximum of {} s", ttl.as_secs(), Self::MAX.as_secs());
                Err(CacheError::new(ErrorKind::InvalidTtl, message))
            }
            Self::After(ttl) => Ok(Self::After(round_up_to_millis(ttl))),
        }
    }

    /// The lifetime with a store's default filled in: `None` means that the entry does not expire.
    #[must_use]
    pub fn resolve(self, default: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Default => default,
            Self::Never => None,
            Self::After(ttl) => Some(ttl),
        }
    }
}

fn round_up_to_millis(ttl: Duration) -> Duration {
    let part = ttl.subsec_nanos() % 1_000_000;
    if part == 0 { ttl } else { ttl + Duration::from_nanos(u64::from(1_000_000 - part)) }
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

/// `None` is [`Ttl::Never`].
impl From<Option<Duration>> for Ttl {
    fn from(ttl: Option<Duration>) -> Self {
        ttl.map_or(Self::Never, Self::After)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_rounding() {
        let ms = Duration::from_millis;
        assert_eq!(Ttl::from(Duration::from_nanos(1)).validated().unwrap(), Ttl::After(ms(1)));
        assert_eq!(Ttl::from(Duration::from_micros(1_001)).validated().unwrap(), Ttl::After(ms(2)));
        assert_eq!(Ttl::from(ms(7)).validated().unwrap(), Ttl::After(ms(7)));
        assert_eq!(Ttl::from(Duration::ZERO).validated().unwrap_err().kind(), ErrorKind::InvalidTtl);
        assert_eq!(Ttl::from(Duration::MAX).validated().unwrap_err().kind(), ErrorKind::InvalidTtl);
        assert_eq!(Ttl::from(Ttl::MAX).validated().unwrap(), Ttl::After(Ttl::MAX));
    }

    #[test]
    fn resolves_the_default() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Ttl::Default.resolve(Some(day)), Some(day));
        assert_eq!(Ttl::Never.resolve(Some(day)), None);
        assert_eq!(Ttl::from(None), Ttl::Never);
    }
}
