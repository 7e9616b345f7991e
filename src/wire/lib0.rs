//! lib0's encoding: a bounds-checked reader over received bytes, and writers.

/// The largest integer of lib0's encoding: what JavaScript holds exactly.
pub const VARUINT_MAX: u64 = (1 << 53) - 1;

/// Received bytes that end too soon, or hold a number or a text that cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("truncated or malformed bytes")]
pub struct Malformed;

/// Reads received bytes from the front. It never panics, never allocates, and leaves it to the
/// caller what to do with bytes that are left.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes have not been read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(first)
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads these bytes, if they are what comes next.
    #[inline]
    pub fn skip(&mut self, expected: &[u8]) -> bool {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// An unsigned integer up to 2^53-1, in at most eight bytes.
    #[inline]
    pub fn varuint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [small, rest @ ..] if *small < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*small))
            }
            _ => self.varuint_within(8, VARUINT_MAX),
        }
    }

    /// An unsigned integer of 32 bits, in at most five bytes.
    #[inline]
    pub fn varuint32(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [small, rest @ ..] if *small < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*small))
            }
            _ => self.varuint_within(5, u64::from(u32::MAX)),
        }
    }

    /// A signed integer between -(2^53-1) and 2^53-1, in at most eight bytes.
    pub fn varint(&mut self) -> Result<i64, Malformed> {
        let first = self.u8()?;
        let is_negative = first & 0x40 != 0;
        let mut value = i64::from(first & 0x3f);
        let mut shift = 6;
        let mut has_more = first & 0x80 != 0;
        while has_more {
            if shift > 48 {
                return Err(Malformed);
            }
            let byte = self.u8()?;
            value |= i64::from(byte & 0x7f) << shift;
            shift += 7;
            has_more = byte & 0x80 != 0;
        }
        if value.unsigned_abs() > VARUINT_MAX {
            return Err(Malformed);
        }
        Ok(if is_negative { -value } else { value })
    }

    /// A length and as many bytes.
    #[inline]
    pub fn varbytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varuint32()?).map_err(|_| Malformed)?;
        self.bytes(length)
    }

    /// A length and as many bytes of UTF-8.
    #[inline]
    pub fn varstring(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.varbytes()?).map_err(|_| Malformed)
    }

    fn varuint_within(&mut self, bytes_max: usize, value_max: u64) -> Result<u64, Malformed> {
        // Eight bytes at once where there are so many: the first without a top bit is the last.
        let (value, length) = match self.rest.first_chunk() {
            Some(bytes) => {
                let bytes = u64::from_le_bytes(*bytes);
                let ends = !bytes & 0x8080_8080_8080_8080;
                let length = ends.trailing_zeros() as usize / 8 + 1;
                (bytes & (u64::MAX >> (64 - 8 * length.min(8))), length)
            }
            None => {
                let length = self.rest.iter().position(|byte| byte & 0x80 == 0);
                let length = length.ok_or(Malformed)? + 1;
                let bytes = self.rest[..length].iter().rev();
                (
                    bytes.fold(0, |value, byte| value << 8 | u64::from(*byte)),
                    length,
                )
            }
        };
        let value = without_top_bits(value);
        if bytes_max < length || value_max < value {
            return Err(Malformed);
        }
        self.rest = &self.rest[length..];
        Ok(value)
    }
}

/// Puts the lower seven bits of each byte together: pairs, then pairs of pairs, then both halves.
#[inline]
fn without_top_bits(bytes: u64) -> u64 {
    let bits = (bytes & 0x007f_007f_007f_007f) | (bytes & 0x7f00_7f00_7f00_7f00) >> 1;
    let bits = (bits & 0x0000_3fff_0000_3fff) | (bits & 0x3fff_0000_3fff_0000) >> 2;
    (bits & 0x0000_0000_0fff_ffff) | (bits & 0x0fff_ffff_0000_0000) >> 4
}

/// Appends an unsigned integer in as few bytes as possible.
#[inline]
pub fn write_varuint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length and the bytes.
pub fn write_varbytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_varuint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a length and the text.
pub fn write_varstring(out: &mut Vec<u8>, text: &str) {
    write_varbytes(out, text.as_bytes());
}

/// How many bytes [`write_varuint`] appends.
pub fn varuint_len(value: u64) -> usize {
    let bits = (u64::BITS - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

/// How many bytes [`write_varbytes`] appends for that many.
pub fn varbytes_len(length: usize) -> usize {
    varuint_len(length as u64) + length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varuint_bytes(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_varuint(&mut out, value);
        out
    }

    #[test]
    fn numbers_look_as_other_implementations_write_them() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[128, 1]),
            (300, &[172, 2]),
            (u64::from(u32::MAX), &[255, 255, 255, 255, 15]),
            (VARUINT_MAX, &[255, 255, 255, 255, 255, 255, 255, 15]),
        ] {
            assert_eq!(varuint_bytes(value), bytes);
            assert_eq!(Reader::new(bytes).varuint(), Ok(value));
        }
    }

    #[test]
    fn a_number_that_javascript_cannot_hold_is_malformed() {
        assert_eq!(
            Reader::new(&varuint_bytes(VARUINT_MAX + 1)).varuint(),
            Err(Malformed)
        );
        assert_eq!(Reader::new(&[0x80; 20]).varuint(), Err(Malformed));
        assert_eq!(
            Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]).varuint(),
            Err(Malformed)
        );
    }

    #[test]
    fn a_number_may_take_more_bytes_than_it_needs() {
        assert_eq!(Reader::new(&[0x85, 0x80, 0]).varuint(), Ok(5));
    }

    #[test]
    fn a_32_bit_number_ends_within_five_bytes() {
        let most = [255, 255, 255, 255, 15];
        assert_eq!(Reader::new(&most).varuint32(), Ok(u64::from(u32::MAX)));
        assert!(Reader::new(&[255, 255, 255, 255, 16]).varuint32().is_err());
        assert!(
            Reader::new(&[128, 128, 128, 128, 128, 0])
                .varuint32()
                .is_err()
        );
    }

    #[test]
    fn signed_numbers_carry_their_sign_in_the_first_byte() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[0x40], 0),
            (&[0x2a], 42),
            (&[0x6a], -42),
            (&[0xbf, 0xff, 0xff, 0xff, 0x0f], i64::from(i32::MAX)),
        ] {
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
        }
        assert_eq!(Reader::new(&[0xff; 12]).varint(), Err(Malformed));
        assert_eq!(Reader::new(&[0x80]).varint(), Err(Malformed));
    }

    #[test]
    fn a_forged_length_is_an_error_and_reads_nothing() {
        let forged = [255, 255, 255, 127, 1, 2];
        assert_eq!(Reader::new(&forged).varbytes(), Err(Malformed));
        assert_eq!(Reader::new(&[2, 0xff, 0xfe]).varstring(), Err(Malformed));
    }

    /// As the format is defined, a byte at a time.
    fn slowly(bytes: &[u8], bytes_max: usize, value_max: u128) -> Option<(u64, usize)> {
        let mut value = 0_u128;
        for (place, byte) in bytes.iter().take(bytes_max).enumerate() {
            value |= u128::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return (value <= value_max).then_some((value as u64, place + 1));
            }
        }
        None
    }

    proptest! {
        #[test]
        fn eight_bytes_at_once_are_read_like_one_at_a_time(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x80), Just(0xff)], 0..12),
        ) {
            for (is_small, bytes_max, value_max) in
                [(false, 8, u128::from(VARUINT_MAX)), (true, 5, u128::from(u32::MAX))]
            {
                let mut reader = Reader::new(&bytes);
                let read = match is_small {
                    true => reader.varuint32(),
                    false => reader.varuint(),
                };
                match slowly(&bytes, bytes_max, value_max) {
                    Some((value, length)) => {
                        prop_assert_eq!(read, Ok(value));
                        prop_assert_eq!(reader.remaining(), bytes.len() - length);
                    }
                    None => prop_assert_eq!(read, Err(Malformed)),
                }
            }
        }

        #[test]
        fn what_is_written_is_read_back(value in 0..=VARUINT_MAX, bytes: Vec<u8>, text: String) {
            let mut out = Vec::new();
            write_varuint(&mut out, value);
            prop_assert_eq!(out.len(), varuint_len(value));
            write_varbytes(&mut out, &bytes);
            prop_assert_eq!(out.len(), varuint_len(value) + varbytes_len(bytes.len()));
            write_varstring(&mut out, &text);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varuint(), Ok(value));
            prop_assert_eq!(reader.varbytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.varstring(), Ok(&text[..]));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panicking(bytes: Vec<u8>, steps: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            for step in steps {
                let before = reader.remaining();
                let _ = match step % 6 {
                    0 => reader.u8().map(|_| ()),
                    1 => reader.varuint().map(|_| ()),
                    2 => reader.varuint32().map(|_| ()),
                    3 => reader.varint().map(|_| ()),
                    4 => reader.varbytes().map(|_| ()),
                    _ => reader.varstring().map(|_| ()),
                };
                prop_assert!(reader.remaining() <= before);
            }
        }
    }
}
