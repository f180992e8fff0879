//! Radiotap, the header that Linux, macOS and the BSDs put in front of captured frames: <https://www.radiotap.org>.
//!
//! Little-endian; a version, a length, words that say which fields are present, then these fields in the order of their bits,
//! each aligned to its own size counted from the start of the header.

use crate::link_layer::{Radio, channel_at};

/// Alignment and size of the fields by their bit: <https://www.radiotap.org/fields/defined>. Later ones are not needed, and a
/// field of unknown size hides all behind it.
const FIELDS: [(usize, usize); 28] = [
    (8, 8),  // TSFT
    (1, 1),  // flags
    (1, 1),  // rate
    (2, 4),  // channel
    (2, 2),  // FHSS
    (1, 1),  // dBm antenna signal
    (1, 1),  // dBm antenna noise
    (2, 2),  // lock quality
    (2, 2),  // TX attenuation
    (2, 2),  // dB TX attenuation
    (1, 1),  // dBm TX power
    (1, 1),  // antenna
    (1, 1),  // dB antenna signal
    (1, 1),  // dB antenna noise
    (2, 2),  // RX flags
    (2, 2),  // TX flags
    (1, 1),  // RTS retries
    (1, 1),  // data retries
    (4, 8),  // XChannel
    (1, 3),  // MCS
    (4, 8),  // A-MPDU status
    (2, 12), // VHT
    (8, 12), // timestamp
    (2, 12), // HE
    (2, 12), // HE-MU
    (2, 6),  // HE-MU-other-user
    (1, 1),  // 0-length PSDU
    (2, 4),  // L-SIG
];

const FLAGS: usize = 1;
const CHANNEL: usize = 3;
const ANTENNA_SIGNAL: usize = 5;
const X_CHANNEL: usize = 18;
const ZERO_LENGTH_PSDU: usize = 26;

/// Of the flags: the frame ends with its FCS, and the FCS check failed.
const HAS_FCS: u8 = 0x10;
const BAD_FCS: u8 = 0x40;

/// The bits of a present word that are no fields.
const FIELD_BITS: u32 = (1 << 29) - 1;
const RADIOTAP_NAMESPACE: u32 = 1 << 29;
const VENDOR_NAMESPACE: u32 = 1 << 30;
const ANOTHER_WORD: u32 = 1 << 31;

/// Splits the header from the frame; `None` when its length cannot be.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_version, _pad, low, high, ..] = bytes else { return None };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    if length < 8 { None } else { bytes.split_at_checked(length) }
}

/// Reads the header; `None` when no 802.11 frame stands behind it (a 0-length PSDU). Fields that run beyond the header end the
/// reading, and what was read by then is kept.
pub(crate) fn read(header: &[u8]) -> Option<Radio> {
    let mut radio = Radio::default();
    let Some((words, start)) = present_words(header) else { return Some(radio) };
    let mut fields = Fields { header, position: start };
    let mut namespace = Namespace::Radiotap;
    for word in words {
        let mut bits = match namespace {
            Namespace::Radiotap => word & FIELD_BITS,
            // bits 32 and up: nothing is defined there
            Namespace::RadiotapFrom32 if word & FIELD_BITS != 0 => return Some(radio),
            // the vendor's fields were skipped by their length
            Namespace::RadiotapFrom32 | Namespace::Vendor => 0,
        };
        while bits != 0 {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let Some(field) = fields.next(bit) else { return Some(radio) };
            match (bit, field) {
                (FLAGS, &[flags]) => {
                    radio.has_fcs = flags & HAS_FCS != 0;
                    radio.is_bad = flags & BAD_FCS != 0;
                }
                (CHANNEL, &[low, high, ..]) => {
                    radio.channel = channel_at(u16::from_le_bytes([low, high]).into()).or(radio.channel);
                }
                // the first is of all antennas together or of antenna 0, by driver; Wireshark shows the last, and so do we
                (ANTENNA_SIGNAL, &[signal]) => radio.signal_dbm = Some(i8::from_le_bytes([signal])),
                (X_CHANNEL, &[_, _, _, _, _, _, channel, _]) if channel != 0 => {
                    radio.channel = Some(channel.into());
                }
                (ZERO_LENGTH_PSDU, _) => return None,
                _ => {}
            }
        }
        namespace = if word & RADIOTAP_NAMESPACE != 0 {
            Namespace::Radiotap
        } else if word & VENDOR_NAMESPACE != 0 {
            if fields.skip_vendor().is_none() {
                return Some(radio);
            }
            Namespace::Vendor
        } else {
            match namespace {
                Namespace::Vendor => Namespace::Vendor,
                Namespace::Radiotap | Namespace::RadiotapFrom32 => Namespace::RadiotapFrom32,
            }
        };
    }
    Some(radio)
}

/// What the bits of a present word stand for.
enum Namespace {
    Radiotap,
    RadiotapFrom32,
    Vendor,
}

/// The present words and where the fields begin; `None` when the words don't end within the header, when one leads into two
/// namespaces, or when the version isn't the one we know: no field can be trusted then.
fn present_words(header: &[u8]) -> Option<(impl Iterator<Item = u32>, usize)> {
    let [0, _pad, _, _, words @ ..] = header else { return None };
    let words = words.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let mut count = 0;
    for word in words.clone() {
        count += 1;
        if word & RADIOTAP_NAMESPACE != 0 && word & VENDOR_NAMESPACE != 0 {
            return None;
        }
        if word & ANOTHER_WORD == 0 {
            return Some((words.take(count), 4 + 4 * count));
        }
    }
    None
}

/// The fields, one after the other.
struct Fields<'a> {
    header: &'a [u8],
    position: usize,
}

impl<'a> Fields<'a> {
    fn next(&mut self, bit: usize) -> Option<&'a [u8]> {
        let &(alignment, size) = FIELDS.get(bit)?;
        self.take(alignment, size)
    }

    /// A vendor's namespace: OUI, sub-namespace, then how many bytes to skip.
    fn skip_vendor(&mut self) -> Option<()> {
        let &[_, _, _, _, low, high] = self.take(2, 6)? else { return None };
        self.take(1, usize::from(u16::from_le_bytes([low, high]))).map(|_skipped| ())
    }

    fn take(&mut self, alignment: usize, size: usize) -> Option<&'a [u8]> {
        let start = self.position.next_multiple_of(alignment);
        let field = self.header.get(start..start + size)?;
        self.position = start + size;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNAL: u32 = 1 << ANTENNA_SIGNAL;

    fn header(words: &[u32], fields: &[u8]) -> Vec<u8> {
        let mut header = vec![0, 0, 0, 0];
        header.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        header.extend(fields);
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        header[2..4].copy_from_slice(&length);
        header
    }

    fn signal(words: &[u32], fields: &[u8]) -> Option<i8> {
        read(&header(words, fields)).unwrap().signal_dbm
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        for bytes in [&[][..], &[0, 0, 8], &[0, 0, 7, 0, 0, 0, 0, 0, 0x40, 0], &[0, 0, 9, 0, 0, 0, 0, 0]] {
            assert_eq!(split(bytes), None, "{bytes:?}");
        }
        assert_eq!(
            split(&[0, 0, 8, 0, 0, 0, 0, 0, 0x40]),
            Some((&[0, 0, 8, 0, 0, 0, 0, 0][..], &[0x40][..]))
        );
    }

    #[test]
    fn fields_are_aligned_from_the_start_of_the_header() {
        // two words, so that the fields begin at 12 and the TSFT at 16
        let words = [1 | SIGNAL | 1 << CHANNEL | ANOTHER_WORD, 0];
        let mut fields = vec![0; 12];
        fields.extend([0x3c, 0x14, 0, 0, 0xd8]);
        let radio = read(&header(&words, &fields)).unwrap();
        assert_eq!((radio.signal_dbm, radio.channel), (Some(-40), Some(36)));
    }

    #[test]
    fn every_signal_is_one_also_0_and_positive_ones() {
        for (byte, dbm) in [(0, 0), (20, 20), (0x80, -128), (0xff, -1)] {
            assert_eq!(signal(&[SIGNAL], &[byte]), Some(dbm));
        }
    }

    #[test]
    fn of_several_antennas_the_last_counts() {
        let again = RADIOTAP_NAMESPACE | ANOTHER_WORD;
        assert_eq!(signal(&[SIGNAL | again, SIGNAL | again, SIGNAL], &[0xb0, 0xb1, 0xb2]), Some(-78));
    }

    #[test]
    fn without_a_new_namespace_the_bits_go_on_at_32() {
        assert_eq!(signal(&[SIGNAL | ANOTHER_WORD, SIGNAL], &[0xb0, 0xb1]), Some(-80));
        // and where nothing is known, nothing behind it can be found
        let words = [SIGNAL | ANOTHER_WORD, SIGNAL | RADIOTAP_NAMESPACE | ANOTHER_WORD, SIGNAL];
        assert_eq!(signal(&words, &[0xb0, 0xb1, 0xb2]), Some(-80));
        // words without fields are passed over
        let words = [ANOTHER_WORD, RADIOTAP_NAMESPACE | ANOTHER_WORD, SIGNAL];
        assert_eq!(signal(&words, &[0xb1]), Some(-79));
    }

    #[test]
    fn a_vendor_s_fields_are_skipped_by_their_length() {
        let words =
            [SIGNAL | VENDOR_NAMESPACE | ANOTHER_WORD, SIGNAL | RADIOTAP_NAMESPACE | ANOTHER_WORD, SIGNAL];
        // the signal, one byte of alignment, OUI, sub-namespace, 3 bytes to skip, these, the signal
        let fields = [0xb0, 0, 0x00, 0x50, 0xf2, 1, 3, 0, 0xc0, 0xc1, 0xc2, 0xb2];
        assert_eq!(signal(&words, &fields), Some(-78));
        // a length beyond the header: what was read before is kept
        let mut lie = fields;
        lie[7] = 0xff;
        assert_eq!(signal(&words, &lie), Some(-80));
        // a vendor's second word is still the vendor's
        let words = [SIGNAL | VENDOR_NAMESPACE | ANOTHER_WORD, ANOTHER_WORD | SIGNAL, SIGNAL];
        assert_eq!(signal(&words, &fields), Some(-80));
    }

    #[test]
    fn both_namespaces_in_one_word_and_words_beyond_the_header_leave_no_field() {
        assert_eq!(
            signal(&[SIGNAL | RADIOTAP_NAMESPACE | VENDOR_NAMESPACE | ANOTHER_WORD, 0], &[0xb0]),
            None
        );
        assert_eq!(signal(&[SIGNAL | ANOTHER_WORD; 3], &[0xb0]), None);
    }

    #[test]
    fn an_unknown_field_or_a_cut_one_ends_the_reading() {
        assert_eq!(signal(&[SIGNAL | 1 << 28], &[0xb0]), Some(-80));
        assert_eq!(signal(&[SIGNAL | 1 << CHANNEL], &[0x85, 0x09, 0xa0, 0]), None);
        assert_eq!(read(&header(&[SIGNAL | 1 << CHANNEL], &[0x85, 0x09, 0xa0, 0])).unwrap().channel, Some(6));
        assert_eq!(signal(&[1 << 28 | RADIOTAP_NAMESPACE | ANOTHER_WORD, SIGNAL], &[0xb0]), None);
    }

    #[test]
    fn another_version_is_skipped_without_fields() {
        let mut header = header(&[SIGNAL], &[0xb0]);
        header[0] = 1;
        assert_eq!(read(&header), Some(Radio::default()));
    }

    #[test]
    fn every_field_has_its_size() {
        let mut fields = vec![0xee; 115];
        let positions = [(18, 0x85), (19, 0x09), (24, 0xb0), (50, 6)];
        for (position, byte) in positions {
            fields[position - 8] = byte;
        }
        let radio = read(&header(&[(1 << 19) - 1], &fields)).unwrap();
        assert_eq!((radio.signal_dbm, radio.channel), (Some(-80), Some(6)));
        // the 0-length PSDU is byte 122, behind all of them
        let words = [(1 << 27) - 1];
        assert!(read(&header(&words, &fields)).is_none());
        assert!(read(&header(&words, &fields[..114])).is_some());
    }

    #[test]
    fn a_0_length_psdu_holds_no_frame() {
        assert_eq!(read(&header(&[1 << ZERO_LENGTH_PSDU], &[0])), None);
    }

    #[test]
    fn the_extended_channel_field_gives_a_channel_too() {
        let fields = [0, 0, 0, 0, 0x3c, 0x14, 36, 20];
        assert_eq!(read(&header(&[1 << X_CHANNEL], &fields)).unwrap().channel, Some(36));
    }
}
