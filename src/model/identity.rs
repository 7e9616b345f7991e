//! Who somebody is: user id, name, avatar, role, colour.

use std::fmt;
use std::sync::Arc;

use crate::model::palette::{HUES, PALETTE, SHADES};

/// A user's id: the `sub` of their token. Never empty.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserId(Arc<str>);

impl UserId {
    /// `None` for the empty text.
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody is in a room, e.g. `coach`. Free text, from the token.
pub type Role = Arc<str>;

/// A display colour, `#rrggbb`.
///
/// It knows whether somebody chose it, which makes no difference to how it looks: only what nobody chose
/// may give way to another.
#[derive(Clone, Copy, Debug)]
pub struct Color {
    rgb: [u8; 3],
    is_chosen: bool,
}

impl Color {
    /// How many hues there are for those who chose none.
    pub const HUES: usize = HUES;

    /// Accepts `#` and six hexadecimal digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        Some(Self {
            is_chosen: true,
            ..Self::given(number)
        })
    }

    /// The colour of someone who chose none: the same for a user id on every node and version.
    /// FNV-1a over the id picks a place in `PALETTE`; both are part of the promise.
    pub fn of_user(user: &UserId) -> Self {
        let hash = user
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        // The low bits of FNV-1a are its weakest: fold the high half in before picking.
        let place = ((hash ^ (hash >> 32)) % (HUES * SHADES) as u64) as usize;
        Self::given(PALETTE[place % HUES][place / HUES])
    }

    /// What stands for one of the `HUES` hues, counted from 0.
    pub fn of_hue(hue: usize) -> Self {
        Self::given(PALETTE[hue % HUES][0])
    }

    /// Of which of the hues it is a shade; none, if it is not one of ours.
    pub fn hue(self) -> Option<usize> {
        let [red, green, blue] = self.rgb;
        let number = u32::from_be_bytes([0, red, green, blue]);
        PALETTE.iter().position(|shades| shades.contains(&number))
    }

    /// Whether somebody chose it, by a token or in an awareness state.
    pub fn is_chosen(self) -> bool {
        self.is_chosen
    }

    fn given(number: u32) -> Self {
        let [_, red, green, blue] = number.to_be_bytes();
        Self {
            rgb: [red, green, blue],
            is_chosen: false,
        }
    }
}

/// Colours are the same that look the same.
impl PartialEq for Color {
    fn eq(&self, other: &Self) -> bool {
        self.rgb == other.rgb
    }
}

impl Eq for Color {}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.rgb;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Who a connection is, taken from a verified token (or made up for a guest of `--dev`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The `sub`.
    pub user: UserId,
    /// The display name; the `sub` where the token has none.
    pub name: Arc<str>,
    /// An avatar's address.
    pub avatar: Option<Arc<str>>,
    /// The colour the token asks for.
    pub color: Option<Color>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_six_hexadecimal_digits() {
        assert_eq!(Color::parse("#3B82f6").unwrap().to_string(), "#3b82f6");
        for bad in [
            "3b82f6", "#3b82f", "#3b82f6f", "#3b82g6", "#+12345", "red", "#…",
        ] {
            assert_eq!(Color::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_users_colour_never_changes() {
        let color = |user| Color::of_user(&UserId::parse(user).unwrap()).to_string();
        assert_eq!(color("coach-1"), color("coach-1"));
        // Recorded: other nodes and later versions must agree.
        assert_eq!([color("ann"), color("bob"), color("Zoë")], RECORDED);
    }

    const RECORDED: [&str; 3] = ["#d43278", "#926e44", "#d7316c"];

    #[test]
    fn a_colour_that_looks_chosen_is_one() {
        let derived = Color::of_user(&UserId::parse("ann").unwrap());
        let chosen = Color::parse(&derived.to_string()).unwrap();
        assert_eq!(derived, chosen);
        assert!(chosen.is_chosen() && !derived.is_chosen());
        assert_eq!(chosen.hue(), derived.hue());
        assert_eq!(Color::parse("#000000").unwrap().hue(), None);
        for hue in 0..Color::HUES {
            assert_eq!(Color::of_hue(hue).hue(), Some(hue));
        }
    }

    /// How much light a colour gives, from 0 to 1 (WCAG 2).
    fn luminance(color: Color) -> f64 {
        let linear = |part: u8| match f64::from(part) / 255.0 {
            part if part <= 0.04045 => part / 12.92,
            part => ((part + 0.055) / 1.055).powf(2.4),
        };
        let [red, green, blue] = color.rgb.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    #[test]
    fn every_colour_is_readable_on_white_and_on_near_black() {
        let contrast = |one: Color, other: &str| {
            let (one, other) = (luminance(one), luminance(Color::parse(other).unwrap()));
            (one.max(other) + 0.05) / (one.min(other) + 0.05)
        };
        for color in PALETTE.into_iter().flatten().map(Color::given) {
            assert!(4.5 <= contrast(color, "#ffffff"), "{color} on white");
            for dark in ["#0a0a0a", "#111827", "#17191c"] {
                assert!(3.5 <= contrast(color, dark), "{color} on {dark}");
            }
        }
    }

    #[test]
    fn people_are_rarely_alike() {
        let all: std::collections::BTreeSet<u32> = PALETTE.into_iter().flatten().collect();
        assert_eq!(all.len(), HUES * SHADES);
        let color =
            |number: u32| Color::of_user(&UserId::parse(&format!("user-{number}")).unwrap());
        let has_two_alike = |room: u32| {
            let five: Vec<Color> = (0..5).map(|place| color(5 * room + place)).collect();
            (1..5).any(|place| five[..place].contains(&five[place]))
        };
        let rooms = (0..2_000).filter(|&room| has_two_alike(room)).count();
        // Chance alone makes 136 of them.
        assert!(rooms < 200, "{rooms} of 2000");
    }
}
