//! Random letters and digits that nobody can guess, from the system.

use crate::error::Error;

/// So many of them.
pub(crate) fn alphanumeric(length: usize) -> Result<String, Error> {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(Error::NoRandomNumbers)?;
        // 62 values of six bits each; the two that are left over are thrown away, so that all are as likely
        let digits = bytes.iter().filter_map(|byte| DIGITS.get(usize::from(byte & 63)));
        text.extend(digits.map(|digit| char::from(*digit)).take(length - text.len()));
    }
    Ok(text)
}
