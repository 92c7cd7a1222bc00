//! The units of a link's settings: checked once, the same in a network file, on the command line and on the control socket.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number with a range and the words for it.
macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $range:expr, $words:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub(crate) struct $name(f64);

        impl $name {
            /// The number.
            pub(crate) const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = String;

            fn try_from(value: f64) -> Result<Self, String> {
                if ($range).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(format!(concat!("{} is not ", $words), value))
                }
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let value: f64 = text
                    .parse()
                    .map_err(|_| format!(concat!("`{}` is not ", $words), text))?;
                Self::try_from(value)
            }
        }
    };
}

unit!(
    /// Milliseconds.
    Millis,
    0.0..=60_000.0,
    "a time in milliseconds, 0 to 60000"
);
unit!(
    /// A share of all packets.
    Probability,
    0.0..=1.0,
    "a probability, 0 to 1"
);
unit!(
    /// Megabits a second.
    Mbit,
    0.001..=100_000.0,
    "a rate in Mbit/s, 0.001 to 100000"
);
unit!(
    /// Bytes of a queue.
    QueueBytes,
    10_000.0..=1_073_741_824.0,
    "a size in bytes, 10000 to 1073741824"
);

impl Millis {
    /// As a duration.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs_f64(self.get() / 1_000.0)
    }

    /// Half of it: one way of a round trip.
    pub(crate) fn half(self) -> Self {
        Self(self.0 / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        assert_eq!("0.25".parse(), Ok(Probability(0.25)));
        assert_eq!(
            "1.5".parse::<Probability>(),
            Err("1.5 is not a probability, 0 to 1".to_owned())
        );
        assert!("NaN".parse::<Millis>().is_err());
        assert!("-1".parse::<Millis>().is_err());
        assert!("fast".parse::<Mbit>().is_err());
    }
}
