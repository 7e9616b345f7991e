//! Who somebody is: user id, name, avatar, role, colour.

use std::fmt;
use std::sync::Arc;

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
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Color([u8; 3]);

impl Color {
    /// Accepts `#` and six hexadecimal digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if digits.len() != 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        let [_, red, green, blue] = number.to_be_bytes();
        Some(Self([red, green, blue]))
    }

    /// The colour of someone who chose none: the same for a user id on every node and version.
    /// FNV-1a over the id picks a row of `PALETTE`; both are part of the promise.
    pub fn of_user(user: &UserId) -> Self {
        let hash = user
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        // The low bits of FNV-1a are its weakest: fold the high half in before picking.
        let row = ((hash ^ (hash >> 32)) % PALETTE.len() as u64) as usize;
        Self(PALETTE[row])
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// Sixteen colours on which white text is readable.
const PALETTE: [[u8; 3]; 16] = [
    [0xb9, 0x1c, 0x1c],
    [0xc2, 0x41, 0x0c],
    [0xa1, 0x62, 0x07],
    [0x4d, 0x7c, 0x0f],
    [0x15, 0x80, 0x3d],
    [0x04, 0x78, 0x57],
    [0x0f, 0x76, 0x6e],
    [0x0e, 0x74, 0x90],
    [0x03, 0x69, 0xa1],
    [0x1d, 0x4e, 0xd8],
    [0x43, 0x38, 0xca],
    [0x6d, 0x28, 0xd9],
    [0x7e, 0x22, 0xce],
    [0xa2, 0x1c, 0xaf],
    [0xbe, 0x18, 0x5d],
    [0xbe, 0x12, 0x3c],
];

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

    const RECORDED: [&str; 3] = ["#c2410c", "#a21caf", "#c2410c"];
}
