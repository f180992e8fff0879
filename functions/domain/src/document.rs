//! What a UniFi controller knows of a device: a document of its MongoDB, and the name that follows from it.

use crate::Mac;

/// One of the two collections that hold devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// `ace.user`: whatever has been a client of the network.
    Client,
    /// `ace.device`: the network's own access points, switches and gateways. Their names beat those that they have as clients.
    Device,
}

impl Collection {
    /// Its name in MongoDB, without the database: `user` or `device`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "user",
            Self::Device => "device",
        }
    }
}

/// What is kept of a document. A text that is empty counts as missing: UniFi writes an empty name where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Whose it is.
    pub mac: Option<Mac>,
    /// The name that somebody gave in the controller.
    pub name: Option<String>,
    /// The name that the device says it has.
    pub hostname: Option<String>,
    /// Who made it, as the controller has it.
    pub oui: Option<String>,
    /// Whether it is a guest. Of clients alone.
    pub is_guest: Option<bool>,
    /// Which model it is. Of the network's own devices alone.
    pub model: Option<String>,
    /// What it does: `uap`, `usw`, `ugw`. Of the network's own devices alone.
    pub kind: Option<String>,
}

/// A field of a [`Document`] and what it holds now; `None` where it is gone, or holds what cannot stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `mac`
    Mac(Option<Mac>),
    /// `name`
    Name(Option<String>),
    /// `hostname`
    Hostname(Option<String>),
    /// `oui`
    Oui(Option<String>),
    /// `is_guest`
    IsGuest(Option<bool>),
    /// `model`
    Model(Option<String>),
    /// `type`
    Kind(Option<String>),
}

/// Clients that the controller itself made out to be access points: they stand among the devices.
const THE_CONTROLLERS_OWN: &str = "Ubiquiti";

impl Document {
    /// Changes a field.
    pub fn set(&mut self, field: Field) {
        match field {
            Field::Mac(mac) => self.mac = mac,
            Field::Name(name) => self.name = name,
            Field::Hostname(hostname) => self.hostname = hostname,
            Field::Oui(oui) => self.oui = oui,
            Field::IsGuest(is_guest) => self.is_guest = is_guest,
            Field::Model(model) => self.model = model,
            Field::Kind(kind) => self.kind = kind,
        }
    }

    /// The name by which people know the device, as the seed's `ALL_DEVICES` makes it. Of the network's own devices the name. Of
    /// clients `name (hostname)`, or the one of them that there is; without both `guest_` or `nonguest_` and who made it. `None`
    /// when there is nothing to make one of.
    #[must_use]
    pub fn label(&self, collection: Collection) -> Option<String> {
        if collection == Collection::Device {
            return self.name.clone();
        }
        if self.oui.as_deref() == Some(THE_CONTROLLERS_OWN) {
            return None;
        }
        match (&self.name, &self.hostname) {
            (Some(name), Some(hostname)) => Some(format!("{name} ({hostname})")),
            (Some(name), None) => Some(name.clone()),
            (None, Some(hostname)) => Some(hostname.clone()),
            (None, None) => {
                let guest = if self.is_guest == Some(true) { "guest" } else { "nonguest" };
                self.oui.as_ref().map(|oui| format!("{guest}_{oui}"))
            }
        }
    }
}

impl FromIterator<Field> for Document {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let mut document = Self::default();
        fields.into_iter().for_each(|field| document.set(field));
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, hostname: &str, oui: &str, is_guest: bool) -> Document {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Document {
            name: text(name),
            hostname: text(hostname),
            oui: text(oui),
            is_guest: Some(is_guest),
            ..Document::default()
        }
    }

    #[test]
    fn a_client_is_called_as_the_seed_calls_it() {
        for (name, hostname, oui, is_guest, label) in [
            ("Robin iPhone", "robins-iphone", "Apple", false, Some("Robin iPhone (robins-iphone)")),
            ("Kitchen Sonos", "", "Sonos", false, Some("Kitchen Sonos")),
            ("", "MacBook-Pro", "Apple", false, Some("MacBook-Pro")),
            ("", "", "Espressi", false, Some("nonguest_Espressi")),
            ("", "", "SamsungE", true, Some("guest_SamsungE")),
            ("", "", "", true, None),
            ("UAP", "", "Ubiquiti", false, None),
            ("G3 Micro", "", "Ubiquiti Inc.", false, Some("G3 Micro")),
        ] {
            let document = document(name, hostname, oui, is_guest);
            assert_eq!(document.label(Collection::Client).as_deref(), label, "{document:?}");
        }
    }

    #[test]
    fn a_device_of_the_network_has_its_name_or_none() {
        assert_eq!(
            document("Attic AP", "uap", "Ubiquiti", false).label(Collection::Device).unwrap(),
            "Attic AP"
        );
        assert_eq!(document("", "uap", "Ubiquiti", false).label(Collection::Device), None);
    }
}
