//! Channels of a card, and which of them a person wants to listen to.

use std::fmt;
use std::str::FromStr;

use domain::link_layer;

/// A channel, 20 MHz wide.
///
/// Its number alone would be ambiguous: 6 GHz counts from 1 again, as 2.4 GHz does (IEEE 802.11ax-2021, 27.3.23.2). Where people
/// read or write one, 6 GHz has a prefix: `6g:5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    /// Its number within its band.
    pub number: u16,
    /// Its centre in MHz.
    pub mhz: u32,
}

/// Where 6 GHz begins, in MHz: operating classes 131 to 136 (IEEE 802.11ax-2021, table E-4).
const SIX_GHZ_FROM: u32 = 5_925;

/// Public safety's band, where no phone looks for Wi-Fi; its channels of 20 MHz have numbers above those of 5 GHz.
const FOUR_POINT_NINE_GHZ: std::ops::RangeInclusive<u32> = 4_900..=4_999;

impl Channel {
    /// The channel whose centre is at this frequency in MHz, and `None` outside of 2.4, 5 and 6 GHz. The same numbers stand in records of
    /// frames heard there.
    #[must_use]
    pub fn at(mhz: u32) -> Option<Self> {
        let number = link_layer::channel_at(mhz).filter(|_| !FOUR_POINT_NINE_GHZ.contains(&mhz))?;
        Some(Self { number, mhz })
    }

    fn wanted(self) -> Wanted {
        Wanted { six_ghz: self.mhz >= SIX_GHZ_FROM, number: self.number }
    }
}

/// As a plan has it: `11`, or `6g:5` in 6 GHz.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wanted().fmt(f)
    }
}

/// A channel as a person writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    six_ghz: bool,
    number: u16,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.six_ghz { "6g:" } else { "" }, self.number)
    }
}

/// Which channels to listen to, in turn: `all`, or numbers with commas, `1,6,11,36,6g:5`.
///
/// A number written twice is listened to twice in each round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPlan(Plan);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    All,
    Listed(Vec<Wanted>),
}

/// The longest plan: there are 14 + 28 + 59 channels, and some of them may come more than once.
const MAX_LISTED: usize = 256;

/// Why a text is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelPlanError {
    /// Nothing between two commas, or nothing at all.
    #[error("a channel is missing: write `all`, or numbers with commas between them as in `1,6,11`")]
    Empty,
    /// Not a number.
    #[error(
        "{0:?} is no channel: write `all`, or numbers with commas between them as in `1,6,11`, those of 6 GHz as `6g:5`"
    )]
    NotAChannel(String),
    /// More than a plan can have.
    #[error("more than {MAX_LISTED} channels: `all` takes every one that the card has")]
    TooMany,
}

impl FromStr for ChannelPlan {
    type Err = ChannelPlanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().eq_ignore_ascii_case("all") {
            return Ok(Self(Plan::All));
        }
        let listed = text.split(',').take(MAX_LISTED + 1).map(wanted).collect::<Result<Vec<_>, _>>()?;
        if listed.len() > MAX_LISTED {
            return Err(ChannelPlanError::TooMany);
        }
        Ok(Self(Plan::Listed(listed)))
    }
}

fn wanted(text: &str) -> Result<Wanted, ChannelPlanError> {
    let text = text.trim();
    let (six_ghz, number) = match text.split_once(':') {
        Some((band, number)) if band.eq_ignore_ascii_case("6g") => (true, number),
        _ => (false, text),
    };
    match number.parse() {
        _ if text.is_empty() => Err(ChannelPlanError::Empty),
        Ok(number @ 1..) => Ok(Wanted { six_ghz, number }),
        _ => Err(ChannelPlanError::NotAChannel(text.to_owned())),
    }
}

impl fmt::Display for ChannelPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Plan::All => f.write_str("all"),
            Plan::Listed(listed) => f.write_str(&in_words(listed.iter())),
        }
    }
}

/// Why a card cannot follow a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableChannel {
    /// The card has no such channel, or the regulatory domain forbids it.
    #[error(
        "the card cannot listen to channel {wanted}: it has {has}; if the country is not set, that keeps channels away, type `iw reg set` and its two letters, as in `iw reg set GB`"
    )]
    NotThere {
        /// The channel.
        wanted: String,
        /// Those that it has.
        has: String,
    },
    /// The card has no channel at all.
    #[error(
        "the card has no channel that is allowed here: `iw phy` lists them, `iw reg set GB` sets the country (with yours in the place of GB)"
    )]
    None,
}

impl ChannelPlan {
    /// Every channel that the card has.
    #[must_use]
    pub const fn all() -> Self {
        Self(Plan::All)
    }

    /// The channels of a card to tune to in turn, at least one.
    ///
    /// A bare number is looked for in 2.4 GHz first, then in 5 GHz.
    ///
    /// # Errors
    /// [`UnusableChannel`]: the card has not all of them.
    pub fn resolve(&self, channels: &[Channel]) -> Result<Vec<Channel>, UnusableChannel> {
        if channels.is_empty() {
            return Err(UnusableChannel::None);
        }
        match &self.0 {
            Plan::All => Ok(channels.to_vec()),
            Plan::Listed(listed) => listed.iter().map(|wanted| resolve(*wanted, channels)).collect(),
        }
    }
}

fn resolve(wanted: Wanted, channels: &[Channel]) -> Result<Channel, UnusableChannel> {
    let matching = channels.iter().filter(|channel| channel.wanted() == wanted);
    matching.min_by_key(|channel| channel.mhz).copied().ok_or_else(|| UnusableChannel::NotThere {
        wanted: wanted.to_string(),
        has: in_words(channels.iter()),
    })
}

/// What a plan would say.
fn in_words(channels: impl Iterator<Item = impl fmt::Display>) -> String {
    channels.map(|channel| channel.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(mhz: &[u32]) -> Vec<Channel> {
        mhz.iter().map(|mhz| Channel::at(*mhz).unwrap()).collect()
    }

    #[test]
    fn a_channel_follows_from_its_frequency() {
        for (mhz, number) in
            [(2412, 1), (2437, 6), (2472, 13), (2484, 14), (5180, 36), (5885, 177), (5955, 1), (7115, 233)]
        {
            assert_eq!(Channel::at(mhz), Some(Channel { number, mhz }), "{mhz} MHz");
        }
        for mhz in [0, 902, 2411, 2477, 5182, 5900, 7120, 58_320] {
            assert_eq!(Channel::at(mhz), None, "{mhz} MHz");
        }
    }

    #[test]
    fn a_plan_is_followed_in_the_order_in_which_it_is_written() {
        let card = channels(&[2412, 2437, 2462, 5180, 5955, 5975]);
        for (plan, wanted) in [
            ("11,1,6", &[2462, 2412, 2437][..]),
            (" 1 , 36", &[2412, 5180]),
            ("1,6g:1,6G:5", &[2412, 5955, 5975]),
            ("1,6,1,11", &[2412, 2437, 2412, 2462]),
            ("All", &[2412, 2437, 2462, 5180, 5955, 5975]),
        ] {
            let plan: ChannelPlan = plan.parse().unwrap();
            assert_eq!(plan.resolve(&card), Ok(channels(wanted)), "{plan}");
        }
    }

    #[test]
    fn a_plan_reads_what_it_writes() {
        for text in ["all", "1,6,11", "36,6g:5"] {
            assert_eq!(text.parse::<ChannelPlan>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_plan_is_refused_in_words() {
        for (text, why) in [
            ("", ChannelPlanError::Empty),
            ("1,,6", ChannelPlanError::Empty),
            ("1,6,", ChannelPlanError::Empty),
            ("0", ChannelPlanError::NotAChannel("0".to_owned())),
            ("1-11", ChannelPlanError::NotAChannel("1-11".to_owned())),
            ("5g:36", ChannelPlanError::NotAChannel("5g:36".to_owned())),
            ("6g:", ChannelPlanError::NotAChannel("6g:".to_owned())),
            ("70000", ChannelPlanError::NotAChannel("70000".to_owned())),
            ("all,1", ChannelPlanError::NotAChannel("all".to_owned())),
        ] {
            assert_eq!(text.parse::<ChannelPlan>(), Err(why), "{text:?}");
        }
        assert_eq!(vec!["1"; 257].join(",").parse::<ChannelPlan>(), Err(ChannelPlanError::TooMany));
    }

    #[test]
    fn a_channel_that_the_card_has_not_is_told_with_those_that_it_has() {
        let plan: ChannelPlan = "1,36".parse().unwrap();
        let refused = plan.resolve(&channels(&[2412, 2437, 5955])).unwrap_err().to_string();
        assert!(refused.contains("channel 36: it has 1,6,6g:1;"), "{refused}");
        assert_eq!(ChannelPlan::all().resolve(&[]), Err(UnusableChannel::None));
    }
}
