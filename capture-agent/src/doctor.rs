//! `capture-agent doctor`: what is missing for the settings to work, in sentences, each with the command that mends it. It changes
//! nothing: no mode, no channel, no record.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use domain::link_layer::LinkType;
use indicatif::HumanBytes;
use nix::sys::statvfs::statvfs;
use pcap::Capture;

use crate::channels::ChannelPlan;
use crate::clock;
use crate::wireless::{self, Card, Mode, SwitchedOff, Wireless, WirelessError};

/// `CAP_NET_ADMIN` and `CAP_NET_RAW` of linux/capability.h.
const CAPABILITIES: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is as it should be.
    Good(String),
    /// It is worth knowing, and hinders nothing.
    Note(String),
    /// Something does not work: what, and the command that mends it.
    Bad {
        /// In a sentence.
        what: String,
        /// What to type, or to do.
        mend: String,
    },
}

impl Finding {
    /// Something does not work.
    #[must_use]
    pub fn bad(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Bad { what: what.into(), mend: mend.into() }
    }
}

/// Writes findings, one a line. Whether all is well.
///
/// # Errors
/// Why they cannot be written.
pub fn tell(findings: &[Finding], mut out: impl Write) -> io::Result<bool> {
    for finding in findings {
        match finding {
            Finding::Good(what) => writeln!(out, "✅ {what}")?,
            Finding::Note(what) => writeln!(out, "   {what}")?,
            Finding::Bad { what, mend } => writeln!(out, "❌ {what}\n   → {mend}")?,
        }
    }
    Ok(!findings.iter().any(|finding| matches!(finding, Finding::Bad { .. })))
}

/// The Wi-Fi interfaces of this machine.
#[must_use]
pub fn wireless_interfaces() -> Vec<String> {
    let Ok(interfaces) = fs::read_dir("/sys/class/net") else { return Vec::new() };
    let mut names: Vec<String> = interfaces
        .filter_map(Result::ok)
        .filter(|interface| interface.path().join("phy80211").exists())
        .filter_map(|interface| interface.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// There is nothing to listen by.
#[must_use]
pub fn no_card() -> Finding {
    Finding::bad(
        "There is no Wi-Fi card here that the kernel knows how to control.",
        "plug one in, and look at dmesg: a driver or its firmware may be missing",
    )
}

/// Whether this process may listen and tune.
#[must_use]
pub fn rights() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(number, _)| effective & (1 << number) == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Finding::Good("This program may listen and tune cards.".to_owned());
    }
    let program = std::env::current_exe()
        .map_or_else(|_| "capture-agent".to_owned(), |path| path.display().to_string());
    Finding::bad(
        format!("This program may not listen or tune cards: {} is missing.", missing.join(" and ")),
        format!(
            "sudo setcap cap_net_raw,cap_net_admin=eip {program}   (or run it by the systemd unit, or as root)"
        ),
    )
}

/// Whether an interface can do what is wanted of it.
#[must_use]
pub fn interface(name: &str, set_monitor: bool, plan: Option<&ChannelPlan>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut control = match Wireless::open() {
        Ok(control) => control,
        Err(error) => return vec![Finding::bad(format!("{name}: {error}"), "modprobe cfg80211")],
    };
    let is_left_alone = !set_monitor && plan.is_none();
    match control.card(name) {
        Ok(card) => {
            examine_card(&card, set_monitor, plan, &mut findings);
            if plan.is_some() {
                examine_others(&card, &others_of_card(name, &mut control), &mut findings);
            }
            examine_country(control.regulatory_domain(&card).as_deref(), name, &mut findings);
            if !set_monitor || card.is_up {
                findings.extend(hindrance(name)); // else the agent takes it up
            }
        }
        Err(WirelessError::NotWireless(_)) if is_left_alone && gives_802_11_frames(name) => {
            findings.push(Finding::Good(format!(
                "{name} gives 802.11 frames. It has no nl80211, so nobody can be asked about its mode and channel."
            )));
        }
        Err(error) => {
            findings.push(split(&format!("{name}: {error}")));
            if !matches!(error, WirelessError::NoSuchInterface(_)) {
                findings.extend(hindrance(name));
            }
        }
    }
    if let Some(finding) = network_manager(name) {
        findings.push(finding);
    }
    if Path::new("/run/wpa_supplicant").join(name).exists() {
        findings.push(Finding::bad(
            format!("wpa_supplicant holds {name}, and changes its channel."),
            format!("sudo systemctl disable --now wpa_supplicant@{name}"),
        ));
    }
    findings
}

/// What keeps libpcap from listening.
fn hindrance(name: &str) -> Option<Finding> {
    if wireless::is_up(name) == Some(false) {
        return Some(Finding::bad(format!("{name} is down."), format!("sudo ip link set {name} up")));
    }
    let error = Capture::from_device(name).and_then(pcap::Capture::open).err()?;
    let what = format!("libpcap cannot listen by {name}: {error}.");
    Some(Finding::bad(what, "mend what else stands here first"))
}

/// As a driver without nl80211, or a program that makes such an interface, may give them.
fn gives_802_11_frames(name: &str) -> bool {
    let opened = Capture::from_device(name).and_then(pcap::Capture::open);
    opened.is_ok_and(|capture| LinkType::from_dlt(capture.get_datalink().0).is_some())
}

fn examine_card(card: &Card, set_monitor: bool, plan: Option<&ChannelPlan>, findings: &mut Vec<Finding>) {
    let name = &card.name;
    match &card.driver {
        Some(driver) => {
            findings.push(Finding::Good(format!("{name} is a Wi-Fi card with the driver {driver}.")))
        }
        None => findings.push(Finding::Note(format!("{name} is a Wi-Fi card whose driver has no name."))),
    }
    if card.mode == Mode::Monitor {
        findings.push(Finding::Good(format!("{name} is in monitor mode.")));
    } else if !card.can_monitor {
        findings.push(Finding::bad(
            format!("{name} cannot do monitor mode."),
            "use another card; iw phy lists what each can do",
        ));
    } else if set_monitor {
        findings
            .push(Finding::Good(format!("{name} can do monitor mode, and is put there (--set-monitor).")));
    } else {
        findings.push(Finding::bad(
            format!("{name} is in {} mode, and nobody puts it into monitor mode.", card.mode),
            "give --set-monitor",
        ));
    }
    let switched_off = SwitchedOff::read(name);
    if switched_off.soft {
        findings
            .push(Finding::bad(format!("The radio of {name} is switched off."), "sudo rfkill unblock wifi"));
    }
    if switched_off.hard {
        findings.push(Finding::bad(
            format!("The radio of {name} is switched off by a switch."),
            "look for it on the case, or for a key with an aerial on it",
        ));
    }
    match plan.map(|plan| plan.resolve(&card.channels)) {
        Some(Ok(channels)) => {
            let listed: Vec<String> = channels.iter().map(ToString::to_string).collect();
            findings.push(Finding::Good(format!("{name} can listen to channels {}.", listed.join(", "))));
        }
        Some(Err(error)) => findings.push(split(&format!("{name}: {error}"))),
        None => findings.push(Finding::Note(format!(
            "{name} stays on the channel that somebody else sets; --channels 1,6,11 hears those in turn."
        ))),
    }
}

/// Other interfaces of the card hinder tuning where they are up and use its radio otherwise than to listen.
fn examine_others(card: &Card, others: &[Card], findings: &mut Vec<Finding>) {
    let hindering =
        others.iter().filter(|other| other.phy == card.phy && other.is_up && other.mode != Mode::Monitor);
    for Card { name: other, mode, .. } in hindering {
        findings.push(Finding::bad(
            format!(
                "{} has one radio together with {other}, which is up in {mode} mode: it cannot be tuned.",
                card.name
            ),
            format!("sudo ip link set {other} down"),
        ));
    }
}

fn examine_country(country: Option<&str>, name: &str, findings: &mut Vec<Finding>) {
    match country {
        Some("00") => findings.push(Finding::Note(format!(
            "{name} follows the rules for an unknown country (00), which forbid some channels; `sudo iw reg set GB`, with your country's letters, sets it."
        ))),
        Some(country) => findings.push(Finding::Good(format!("{name} follows the rules of {country}."))),
        None => {}
    }
}

/// A message that ends with what to do, after its first colon or semicolon.
fn split(error: &str) -> Finding {
    match error.split_once("; ").or_else(|| error.rsplit_once(": ")) {
        Some((what, mend)) => Finding::bad(format!("{what}."), mend),
        None => Finding::bad(error, "see above"),
    }
}

/// Other interfaces of the same card.
fn others_of_card(name: &str, control: &mut Wireless) -> Vec<Card> {
    let of_card = Path::new("/sys/class/net").join(name).join("phy80211/device/net");
    let Ok(interfaces) = fs::read_dir(of_card) else { return Vec::new() };
    interfaces
        .filter_map(Result::ok)
        .filter_map(|interface| interface.file_name().into_string().ok())
        .filter(|other| other != name)
        .filter_map(|other| control.card(&other).ok())
        .collect()
}

/// Whether NetworkManager holds an interface: it would take it out of monitor mode.
fn network_manager(name: &str) -> Option<Finding> {
    // its words for states are translated
    let mut nmcli = Command::new("nmcli");
    let asked = nmcli.env("LC_ALL", "C").args(["-t", "-f", "DEVICE,STATE", "device"]).output().ok()?;
    let listed = String::from_utf8_lossy(&asked.stdout);
    let state = listed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    if state.starts_with("unmanaged") {
        return Some(Finding::Good(format!("NetworkManager leaves {name} alone.")));
    }
    Some(Finding::bad(
        format!("NetworkManager holds {name} ({state}), and may take it out of monitor mode."),
        format!("sudo nmcli device set {name} managed no"),
    ))
}

/// Whether the clock is synchronised.
#[must_use]
pub fn clock(is_trusted: bool) -> Finding {
    if clock::is_synchronized() {
        return Finding::Good("The clock is synchronised.".to_owned());
    }
    if is_trusted {
        return Finding::Note(
            "The clock is not synchronised, and is believed all the same (--clock trust).".to_owned(),
        );
    }
    Finding::bad(
        "The clock is not synchronised: what is heard is held in memory until it is.",
        "sudo timedatectl set-ntp true   (or believe it as it is, with --clock trust)",
    )
}

/// Whether the spool can be written, and has room.
#[must_use]
pub fn spool(directory: &Path, most_bytes: u64) -> Finding {
    let shown = directory.display();
    let there = match nearest(directory) {
        Ok(there) => there,
        Err(why) => {
            return Finding::bad(
                format!("The spool {shown} cannot be written: {why}."),
                "give another directory with --spool",
            );
        }
    };
    if let Err(error) = can_write(&there) {
        return Finding::bad(
            format!("The spool {shown} cannot be written: {}: {error}.", there.display()),
            format!("sudo chown $USER {}   (or give another directory with --spool)", there.display()),
        );
    }
    let used = fs::metadata(directory.join("spool.db")).map_or(0, |database| database.len());
    match statvfs(&there) {
        Ok(disk) => {
            // both have the size of a machine's word, and in 32 bits their product would not fit
            let free = u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
            let free = u64::try_from(free).unwrap_or(u64::MAX);
            let needed = most_bytes.saturating_sub(used);
            if free < needed {
                return Finding::bad(
                    format!(
                        "The disk of {shown} has {} left, and the spool may grow by {}.",
                        HumanBytes(free),
                        HumanBytes(needed)
                    ),
                    "make room, or give a smaller --spool-bytes",
                );
            }
            Finding::Good(format!(
                "The spool {shown} can be written, and its disk has {} left.",
                HumanBytes(free)
            ))
        }
        Err(error) => {
            Finding::Note(format!("The spool {shown} can be written; how much room there is: {error}."))
        }
    }
}

/// Where the ring of capture files lies, and that nothing but their number and time bounds it.
#[must_use]
pub fn ring(directory: &Path, spool: &Path) -> Finding {
    let shown = directory.display();
    let cannot = |why| {
        let what = format!("The ring of capture files cannot be written in {shown}: {why}.");
        Finding::bad(what, "give another directory with --ring-directory")
    };
    let there = match nearest(directory) {
        Ok(there) => there,
        Err(why) => return cannot(why),
    };
    if let Err(error) = can_write(&there) {
        return cannot(error.to_string());
    }
    let disk = |directory: &Path| fs::metadata(directory).map(|there| there.dev()).ok();
    let same =
        if nearest(spool).is_ok_and(|spool| disk(&spool) == disk(&there)) { ", the spool's too" } else { "" };
    Finding::Note(format!(
        "The ring of capture files in {shown} is bounded in time and not in bytes: where much is heard it may fill its disk{same}."
    ))
}

/// The directory itself, or where it would be made.
fn nearest(directory: &Path) -> Result<PathBuf, String> {
    let directory = std::path::absolute(directory).map_err(|error| error.to_string())?;
    match directory.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()) {
        Some(there) if there.is_dir() => Ok(there.to_owned()),
        Some(there) => Err(format!("{} is no directory", there.display())),
        None => Err("there is no directory above it".to_owned()),
    }
}

fn can_write(directory: &Path) -> io::Result<()> {
    let probe: PathBuf = directory.join(format!(".capture-agent-{}", std::process::id()));
    fs::File::create_new(&probe)?;
    fs::remove_file(probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_that_is_bad_says_what_mends_it() {
        let findings = [
            Finding::Good("The clock is synchronised.".to_owned()),
            split("wlan9: there is no interface wlan9: `ip link` lists those that are there; plug it in"),
        ];
        let mut told = Vec::new();
        assert!(!tell(&findings, &mut told).unwrap());
        assert_eq!(
            String::from_utf8(told).unwrap(),
            "✅ The clock is synchronised.\n❌ wlan9: there is no interface wlan9: `ip link` lists those that are there.\n   → plug it in\n"
        );
        assert!(tell(&findings[..1], io::sink()).unwrap());
    }

    #[test]
    fn a_spool_that_cannot_be_written_or_has_no_room_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(spool(&directory.path().join("new/one"), 16 << 20), Finding::Good(_)));
        assert!(matches!(spool(directory.path(), u64::MAX), Finding::Bad { .. }));
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for no_directory in [&file, &file.join("in-it")] {
            let said = spool(no_directory, 16 << 20);
            assert!(
                matches!(&said, Finding::Bad { what, .. } if what.contains("is no directory")),
                "{said:?}"
            );
        }
        fs::remove_file(file).unwrap();
        assert!(matches!(spool(Path::new("relative"), 16 << 20), Finding::Good(_)));
        assert!(matches!(spool(Path::new("/proc/spool"), 16 << 20), Finding::Bad { .. }));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn another_interface_of_the_card_hinders_unless_it_only_listens_or_is_down() {
        let card = |name: &str, mode, is_up| Card {
            index: 1,
            name: name.to_owned(),
            mode,
            is_up,
            phy: 0,
            can_monitor: true,
            channels: Vec::new(),
            driver: None,
        };
        let others = [
            card("listens", Mode::Monitor, true),
            card("down", Mode::Managed, false),
            card("wlan0", Mode::Managed, true),
        ];
        let mut findings = Vec::new();
        examine_others(&card("wlan1", Mode::Monitor, true), &others, &mut findings);
        assert!(
            matches!(&findings[..], [Finding::Bad { mend, .. }] if mend == "sudo ip link set wlan0 down"),
            "{findings:?}"
        );
    }

    #[test]
    fn an_interface_that_is_not_there_is_told() {
        let findings = interface("none0", true, None);
        assert!(matches!(&findings[0], Finding::Bad { what, .. } if what.contains("none0")), "{findings:?}");
    }
}
