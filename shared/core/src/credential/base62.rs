//! The two numbers of a credential, its secret and its checksum, in base 62: `0-9A-Za-z`, at a fixed width.

use zeroize::Zeroizing;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The digits of a secret: 62⁴³ is the first power of 62 above 2²⁵⁶.
pub(super) const SECRET_LENGTH: usize = 43;
/// The digits of a checksum: 62⁶ is the first power of 62 above 2³².
pub(super) const CHECKSUM_LENGTH: usize = 6;

/// The CRC-32 (IEEE) of `bytes`.
pub(super) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(bytes);
    let mut digits = [0; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Writes a 256-bit big-endian number by long division, a byte at a time.
pub(super) fn encode_secret(bytes: &[u8; 32]) -> Zeroizing<[u8; SECRET_LENGTH]> {
    let mut number = Zeroizing::new(*bytes);
    let mut digits = Zeroizing::new([0; SECRET_LENGTH]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in number.iter_mut() {
            let dividend = remainder << 8 | u16::from(*byte);
            [_, *byte] = (dividend / 62).to_be_bytes();
            remainder = dividend % 62;
        }
        *digit = DIGITS[usize::from(remainder)];
    }
    digits
}

/// Reads what [`encode_secret`] writes; `None` for a byte that is not a digit and for a number of more than 256 bits.
pub(super) fn decode_secret(digits: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    // Eight times 32 bits. Five digits are less than 2³⁰, so the number is multiplied once for each five of them.
    let mut number = Zeroizing::new([0_u64; 8]);
    for digits in digits.chunks(5) {
        let mut carry = 0;
        let mut factor = 1;
        for &digit in digits {
            carry = carry * 62 + value(digit)?;
            factor *= 62;
        }
        for part in number.iter_mut().rev() {
            let product = *part * factor + carry;
            *part = product & u64::from(u32::MAX);
            carry = product >> 32;
        }
        if carry != 0 {
            return None;
        }
    }
    let mut bytes = Zeroizing::new([0; 32]);
    for (bytes, part) in bytes.chunks_exact_mut(4).zip(number.iter()) {
        bytes.copy_from_slice(&part.to_be_bytes()[4..]);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u64> {
    let value = match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'Z' => digit - b'A' + 10,
        b'a'..=b'z' => digit - b'a' + 36,
        _ => return None,
    };
    Some(value.into())
}
