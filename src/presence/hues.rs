//! Which hues are shown in a room, and which one is next for somebody who chose none.

use crate::model::Color;

/// How many people are shown in each of the hues there are.
#[derive(Debug, Default)]
pub(super) struct Hues {
    shown: [u32; Color::HUES],
}

impl Hues {
    /// Somebody who was shown as `before` is shown as `after` from now on.
    pub fn note(&mut self, before: Option<Color>, after: Option<Color>) {
        if before == after {
            return;
        }
        if let Some(hue) = before.and_then(Color::hue) {
            self.shown[hue] = self.shown[hue].saturating_sub(1);
        }
        if let Some(hue) = after.and_then(Color::hue) {
            self.shown[hue] += 1;
        }
    }

    /// The colour for somebody who chose none: their own if nobody else is shown in its hue, else the next
    /// hue that is free; while none is, their own all the same. `shown`: as they are shown now.
    pub fn pick(&self, own: Color, shown: Option<Color>) -> Color {
        let Some(first) = own.hue() else {
            return own;
        };
        let mut following = (first..first + Color::HUES).map(|hue| hue % Color::HUES);
        let theirs = shown.and_then(Color::hue);
        let others = |hue: usize| self.shown[hue] - u32::from(theirs == Some(hue));
        match following.find(|&hue| others(hue) == 0) {
            Some(hue) if hue != first => Color::of_hue(hue),
            _ => own,
        }
    }
}
