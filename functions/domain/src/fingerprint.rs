//! The fingerprint of a probe request: alike for devices of one make, for what the model decides and the owner does not.
//!
//! It is made of the identifiers of all elements in their order (of vendor elements with the vendor and its type, of extended ones
//! with the extension) and of the contents of the few that only tell what radio and driver can do. It never contains
//! * the SSID, nor the networks that are listed: they tell the owner, and change from frame to frame;
//! * the channel of the DS Parameter Set: it changes from frame to frame;
//! * the contents of vendor elements: a WPS element has a UUID, which tells one device from all others of its make;
//! * the network (HESSID) that an Interworking element may ask for.
//!
//! So it does not follow a person through changing addresses. A device has a few: drivers send other rates in 2.4, 5 and 6 GHz.
//!
//! Fingerprints are stored, so this must not change: XXH3 (64 bits) of what counts of an element's contents, seeded with the hash of
//! the elements before it (0 in front of the first) plus its identifier.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Element identifiers (IEEE 802.11-2020, table 9-92, and IEEE 802.11ax-2021) whose contents the model decides.
const SUPPORTED_RATES: u8 = 1;
const HT_CAPABILITIES: u8 = 45;
const EXTENDED_SUPPORTED_RATES: u8 = 50;
const INTERWORKING: u8 = 107;
const EXTENDED_CAPABILITIES: u8 = 127;
const VHT_CAPABILITIES: u8 = 191;
const VENDOR_SPECIFIC: u8 = 221;
const EXTENSION: u8 = 255;
const HE_CAPABILITIES: u8 = 35;

/// A fingerprint in the making.
#[derive(Default)]
pub(crate) struct Fingerprint(Option<u64>);

impl Fingerprint {
    /// Adds the next element of the frame.
    pub(crate) fn add(&mut self, identifier: u8, content: &[u8]) {
        let counted = match (identifier, content) {
            (
                SUPPORTED_RATES
                | HT_CAPABILITIES
                | EXTENDED_SUPPORTED_RATES
                | EXTENDED_CAPABILITIES
                | VHT_CAPABILITIES,
                _,
            )
            | (EXTENSION, [HE_CAPABILITIES, ..]) => content,
            // the extension, or the access network options: the next bytes may be a venue and an HESSID
            (EXTENSION | INTERWORKING, _) => content.get(..1).unwrap_or_default(),
            // OUI and type
            (VENDOR_SPECIFIC, _) => content.get(..4).unwrap_or(content),
            _ => &[],
        };
        let seed = self.0.unwrap_or_default().wrapping_add(identifier.into());
        self.0 = Some(xxh3_64_with_seed(counted, seed));
    }

    /// The fingerprint of all elements that were added; `None` if there were none.
    pub(crate) fn finish(self) -> Option<u64> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(elements: &[(u8, &[u8])]) -> Option<u64> {
        let mut fingerprint = Fingerprint::default();
        for (identifier, content) in elements {
            fingerprint.add(*identifier, content);
        }
        fingerprint.finish()
    }

    const WPS: &[u8] = b"\x00\x50\xf2\x04 and a UUID";

    #[test]
    fn what_tells_the_owner_does_not_count() {
        let one = of(&[
            (0, b"RNM0"),
            (1, &[2, 4]),
            (3, &[1]),
            (84, b"\x00\x04home"),
            (107, b"\x0fHESSID"),
            (221, WPS),
        ]);
        let other = of(&[
            (0, b""),
            (1, &[2, 4]),
            (3, &[13]),
            (84, b""),
            (107, b"\x0f"),
            (221, b"\x00\x50\xf2\x04 another"),
        ]);
        assert_eq!(one, other);
    }

    #[test]
    fn what_the_model_decides_counts() {
        let elements: [(u8, &[u8]); 8] = [
            (1, &[2, 4]),
            (45, &[0x2d]),
            (50, &[12]),
            (107, &[0x0f]),
            (127, &[4]),
            (191, &[0xb2]),
            (255, &[HE_CAPABILITIES, 1]),
            (221, WPS),
        ];
        let all = of(&elements);
        for position in 0..elements.len() {
            let mut changed = elements;
            let mut content = changed[position].1.to_vec();
            let last = content.len().min(4) - 1;
            content[last] ^= 0x80;
            changed[position].1 = &content;
            assert_ne!(of(&changed), all, "the contents of {}", elements[position].0);
            let mut without = elements.to_vec();
            without.remove(position);
            assert_ne!(of(&without), all, "that there is {}", elements[position].0);
        }
        let mut turned = elements;
        turned.reverse();
        assert_ne!(of(&turned), all, "the order");
        assert_ne!(of(&[(0, b""), (0, b"")]), of(&[(0, b"")]), "how many there are");
    }

    #[test]
    fn a_frame_without_elements_has_none() {
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn stored_fingerprints_stay_what_they_are() {
        assert_eq!(
            of(&[(0, b"RNM0"), (1, &[2, 4, 11, 22]), (45, &[0x2d; 26]), (221, WPS)]),
            Some(0x41da_db7c_dec7_4556)
        );
    }
}
