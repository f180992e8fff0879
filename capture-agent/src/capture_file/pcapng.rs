//! pcapng: sections of blocks, with several interfaces, link types and units of time in one file
//! (<https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/>).

use std::io::Read;

use domain::EventTime;
use domain::link_layer::{Captured, LinkType};
use pcap_parser::{
    EPB_MAGIC, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, SHB_MAGIC, SPB_MAGIC,
    parse_enhancedpacketblock_be, parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_simplepacketblock_be, parse_simplepacketblock_le,
};

use super::{Frames, ReadError, Window};

/// The longest block that is read: libpcap's limit too.
const MAX_BLOCK: usize = 16 * 1024 * 1024;

/// Interfaces of a section: a file of nothing else must not fill the memory.
const MAX_INTERFACES: usize = 65_536;

/// The packet block of the first drafts, which old versions of Wireshark wrote.
const OBSOLETE_PACKET_BLOCK: u32 = 2;

/// The byte-order magic of a section header as it stands in a little-endian and in a big-endian section.
const LITTLE_ENDIAN: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];
const BIG_ENDIAN: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

/// Reads the file that begins in the window.
pub(super) fn read<E, R: Read, F>(window: &mut Window<R>, frames: &mut Frames<F>) -> Result<(), ReadError<E>>
where
    F: FnMut(u64, Captured<'_>) -> Result<(), E>,
{
    let mut section = Section { is_big_endian: false, interfaces: Vec::new() };
    let mut other_link_type = None;
    let mut has_ieee80211 = false;
    while window.fill(12)? {
        let (block_type, length) =
            section.block_header(window.data()).ok_or_else(|| match frames.number {
                0 => ReadError::NotACapture,
                _ => frames.damaged("a new section has no byte order"),
            })?;
        // type, length, length again
        if !(12..=MAX_BLOCK).contains(&length) {
            return Err(frames.damaged("the length of its block cannot be"));
        }
        if !window.fill(length)? {
            return Err(frames.cut());
        }
        let block = window.data().get(..length).unwrap_or_default();
        match block_type {
            SHB_MAGIC => section.interfaces.clear(),
            IDB_MAGIC => {
                let interface =
                    section.interface(block).ok_or_else(|| frames.damaged("its interface is damaged"))?;
                if section.interfaces.len() == MAX_INTERFACES {
                    return Err(frames.damaged("more interfaces than any capture has"));
                }
                match interface.link_type {
                    Some(_) => has_ieee80211 = true,
                    None => other_link_type = other_link_type.or(Some(interface.dlt)),
                }
                section.interfaces.push(interface);
            }
            EPB_MAGIC | SPB_MAGIC | OBSOLETE_PACKET_BLOCK => {
                let packet = section
                    .packet(block_type, block)
                    .ok_or_else(|| frames.damaged("its block contradicts itself"))?;
                let interface = section
                    .interfaces
                    .get(packet.interface)
                    .ok_or_else(|| frames.damaged("its interface is not described"))?;
                let time = packet.ticks.map_or(0, |ticks| interface.time(ticks));
                let bytes = match packet.ticks {
                    Some(_) => packet.bytes,
                    // only the interface says by how much a simple packet was cut
                    None => packet.bytes.get(..interface.snap_length).unwrap_or(packet.bytes),
                };
                frames.next(interface.link_type, time, bytes, packet.original_length)?;
            }
            _ => {}
        }
        window.consume(length);
    }
    if !window.data().is_empty() {
        return Err(frames.cut());
    }
    match other_link_type {
        Some(link_type) if !has_ieee80211 => Err(ReadError::NotIeee80211 { link_type }),
        _ => Ok(()),
    }
}

/// A section: its byte order, and the interfaces described so far.
struct Section {
    is_big_endian: bool,
    interfaces: Vec<Interface>,
}

struct Interface {
    dlt: i32,
    link_type: Option<LinkType>,
    /// The most bytes that were captured of a frame.
    snap_length: usize,
    ticks_in_a_second: u128,
    offset_in_seconds: i64,
}

struct Packet<'a> {
    interface: usize,
    /// In units of the interface; a simple packet has none.
    ticks: Option<u64>,
    bytes: &'a [u8],
    original_length: u32,
}

impl Section {
    /// The type and the length of the block that begins here. A section header says in which byte order it is itself.
    fn block_header(&mut self, data: &[u8]) -> Option<(u32, usize)> {
        let (block_type, rest) = data.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        // a palindrome: alike in both orders
        if u32::from_le_bytes(*block_type) == SHB_MAGIC {
            self.is_big_endian = match *rest.first_chunk::<4>()? {
                LITTLE_ENDIAN => false,
                BIG_ENDIAN => true,
                _ => return None,
            };
        }
        Some((self.number(*block_type), usize::try_from(self.number(*length)).ok()?))
    }

    fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn interface(&self, block: &[u8]) -> Option<Interface> {
        let parse = if self.is_big_endian {
            parse_interfacedescriptionblock_be
        } else {
            parse_interfacedescriptionblock_le
        };
        let (_, block) = parse(block).ok()?;
        let dlt = block.linktype.0;
        Some(Interface {
            dlt,
            link_type: LinkType::from_dlt(dlt),
            snap_length: match usize::try_from(block.snaplen).ok()? {
                0 => usize::MAX,
                length => length,
            },
            ticks_in_a_second: ticks_in_a_second(block.if_tsresol),
            offset_in_seconds: self.offset_in_seconds(&block),
        })
    }

    /// The option if_tsoffset, in the section's byte order.
    fn offset_in_seconds(&self, block: &InterfaceDescriptionBlock<'_>) -> i64 {
        let option = block.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        match option.and_then(|option| option.value().first_chunk::<8>()) {
            None => 0,
            Some(bytes) if self.is_big_endian => i64::from_be_bytes(*bytes),
            Some(bytes) => i64::from_le_bytes(*bytes),
        }
    }

    fn packet<'a>(&self, block_type: u32, block: &'a [u8]) -> Option<Packet<'a>> {
        match block_type {
            SPB_MAGIC => {
                let parse =
                    if self.is_big_endian { parse_simplepacketblock_be } else { parse_simplepacketblock_le };
                let (_, block) = parse(block).ok()?;
                let length = usize::try_from(block.origlen).ok()?;
                let bytes = block.data.get(..length).unwrap_or(block.data);
                Some(Packet { interface: 0, ticks: None, bytes, original_length: block.origlen })
            }
            OBSOLETE_PACKET_BLOCK => {
                let (_type_and_length, rest) = block.split_first_chunk::<8>()?;
                let (&number, rest) = rest.split_first_chunk::<2>()?;
                let interface =
                    if self.is_big_endian { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) };
                let (_drops, rest) = rest.split_first_chunk::<2>()?;
                let (numbers, rest) = rest.split_first_chunk::<16>()?;
                let [high, low, captured, original_length] = self.four_numbers(*numbers)?;
                Some(Packet {
                    interface: interface.into(),
                    ticks: Some(u64::from(high) << 32 | u64::from(low)),
                    bytes: rest.get(..usize::try_from(captured).ok()?)?,
                    original_length,
                })
            }
            _ => {
                let parse = if self.is_big_endian {
                    parse_enhancedpacketblock_be
                } else {
                    parse_enhancedpacketblock_le
                };
                let (_, block) = parse(block).ok()?;
                Some(Packet {
                    interface: usize::try_from(block.if_id).ok()?,
                    ticks: Some(u64::from(block.ts_high) << 32 | u64::from(block.ts_low)),
                    // `data` goes on with padding
                    bytes: block.data.get(..usize::try_from(block.caplen).ok()?)?,
                    original_length: block.origlen,
                })
            }
        }
    }

    fn four_numbers(&self, bytes: [u8; 16]) -> Option<[u32; 4]> {
        let (words, _) = bytes.as_chunks::<4>();
        let [a, b, c, d] = words else { return None };
        Some([self.number(*a), self.number(*b), self.number(*c), self.number(*d)])
    }
}

impl Interface {
    fn time(&self, ticks: u64) -> EventTime {
        let milliseconds = u128::from(ticks) * 1_000 / self.ticks_in_a_second;
        EventTime::try_from(milliseconds)
            .unwrap_or(EventTime::MAX)
            .saturating_add(self.offset_in_seconds.saturating_mul(1_000))
    }
}

/// The option if_tsresol: a negative power of 10, or of 2 where the highest bit is set. Units that no number here can count are
/// so small that every time is 0.
fn ticks_in_a_second(resolution: u8) -> u128 {
    let exponent = u32::from(resolution & 0x7f);
    let ticks =
        if resolution & 0x80 == 0 { 10_u128.checked_pow(exponent) } else { 1_u128.checked_shl(exponent) };
    ticks.unwrap_or(u128::MAX)
}
