//! A UniFi controller's MongoDB in memory and a connector that tells of it: logs of change data capture with the truth beside them.
//! It knows nothing of the code that reads them.
//!
//! What is written, when and how follows records of real connectors (Debezium 1.1 and 3.3) and the manuals. A connector lags, looks
//! documents up when it writes and not when they changed, dies between any two records and begins some changes earlier, under new
//! offsets. A topic gets more partitions, and a document another one.
//!
//! <https://debezium.io/documentation/reference/stable/connectors/mongodb.html>
//! <https://www.mongodb.com/docs/manual/reference/change-events/>

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::Value;

/// The topic of collection `ace.user`.
pub const CLIENTS: &str = "unifi.ace.user";
/// The topic of collection `ace.device`.
pub const DEVICES: &str = "unifi.ace.device";
/// An afternoon in 2026, milliseconds since 1970: all that is written is of this day.
pub const BEGIN_MS: i64 = 1_795_000_000_000;

/// What tells of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connector {
    /// Debezium 3.3 with `capture.mode=change_streams_update_full`: an update looks the document up.
    LookUp,
    /// Debezium 3.3 with `capture.mode=change_streams`: an update says what it changed.
    Changes,
    /// Debezium 1.1, which reads the oplog: an update is a patch.
    Oplog,
    /// [`Connector::LookUp`] behind `ExtractNewDocumentState` with `delete.tombstone.handling.mode=rewrite-with-tombstone` and
    /// `add.fields=op,source.ts_ms,source.ord`.
    Flattened,
    /// MongoDB's own source connector with `change.stream.full.document=updateLookup`, keyed by document.
    ChangeStream,
}

impl Connector {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::LookUp, Self::Changes, Self::Oplog, Self::Flattened, Self::ChangeStream];

    /// Whether an update carries the document as it is when the record is written.
    const fn looks_up(self) -> bool {
        matches!(self, Self::LookUp | Self::Flattened | Self::ChangeStream)
    }
}

/// A record as it lies in its partition: behind those that were written there before.
#[derive(Debug, Clone)]
pub struct Written {
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: i32,
    /// The Kafka timestamp, milliseconds since 1970.
    pub timestamp: i64,
    /// The key.
    pub key: Vec<u8>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What a device is called at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The name that wins.
    pub label: String,
    /// Whether it is a guest, where a client's name wins.
    pub is_guest: Option<bool>,
}

/// All that was written, and what is true at the end.
#[derive(Debug)]
pub struct Log {
    /// The records, in the order in which they were written.
    pub records: Vec<Written>,
    /// What the devices are called, by address. One that is not here has no name.
    pub called: BTreeMap<String, Called>,
    /// Records that nobody can read, by topic.
    pub unreadable: BTreeMap<&'static str, u64>,
}

/// The addresses of the devices.
pub const MACS: [&str; 5] =
    ["a4:83:e7:00:00:01", "a4:83:e7:00:00:02", "78:67:d7:00:00:03", "80:2a:a8:00:00:04", "80:2a:a8:00:00:05"];
const NAMES: [&str; 3] = ["Küche – Sonos™ 📶", "O\"B \\ \"TV\"\t{x}", "iPhone"];
const OUIS: [&str; 3] = ["Apple", "Espressi", "Ubiquiti Inc."];
const IDS: [&str; 4] = [
    "5a32b0c9e4b047ede36a0002",
    "596275826082730779519000", // an ObjectId of decimal digits
    "5a4c022",
    "a \"b\" {c}",
];

/// A document without its `_id`: extended JSON by name.
type Document = BTreeMap<&'static str, String>;
/// All documents there are, by topic and `_id`.
type State = BTreeMap<(&'static str, &'static str), Document>;
/// `source.ts_ms` and `source.ord`.
type Order = (i64, i64);

#[derive(Debug, Clone)]
enum What {
    Insert,
    Replace,
    Update { set: Vec<(&'static str, String)>, unset: Vec<&'static str> },
    Delete,
}

#[derive(Debug, Clone)]
struct Event {
    topic: &'static str,
    id: &'static str,
    order: Order,
    what: What,
}

/// Lets things happen in a MongoDB, and a connector write what it sees of them.
#[must_use]
pub fn log(random: &mut Rng, connector: Connector) -> Log {
    // Of two documents with one address nobody could tell which changed last where a record does not say what changed, or where a later
    // one in another partition is read before.
    let has_doubles = match connector {
        Connector::Changes | Connector::Oplog => true,
        Connector::LookUp | Connector::ChangeStream => random.bool(),
        Connector::Flattened => false,
    };
    let mut database = Database {
        has_doubles,
        has_transactions: random.u32(..4) == 0,
        states: vec![State::new()],
        events: Vec::new(),
        changed: BTreeMap::new(),
        clock: (BEGIN_MS, 0),
    };
    let before = random.usize(0..8);
    let after = random.usize(4..40);
    (0..before).for_each(|_| database.happen(random, false));
    (0..after).for_each(|_| database.happen(random, true));
    let called = database.called();
    let mut writer = Writer {
        connector,
        database: &database,
        random,
        clock_ms: BEGIN_MS + 60_000,
        epoch: 0,
        placed: BTreeMap::new(),
        has_schema: false,
        key_blanks: 0,
        has_before: false,
        log: Log { records: Vec::new(), called, unreadable: BTreeMap::new() },
    };
    writer.write_all(before);
    writer.log
}

struct Database {
    /// Whether two documents may have one address.
    has_doubles: bool,
    /// Whether several changes may have one place in the order.
    has_transactions: bool,
    /// What there was after so many events.
    states: Vec<State>,
    events: Vec<Event>,
    /// When what people see of a document was changed last; none for what was so when the connector began.
    changed: BTreeMap<(&'static str, &'static str), Option<Order>>,
    clock: Order,
}

impl Database {
    fn now(&self) -> &State {
        self.states.last().expect("a state")
    }

    fn happen(&mut self, random: &mut Rng, is_seen: bool) {
        let (ts_ms, ord) = self.clock;
        self.clock = match random.u32(..12) {
            0..4 => (ts_ms + 1_000 * random.i64(1..4), 1),
            // in one transaction with the last
            4 if ord > 0 && self.has_transactions => (ts_ms, ord),
            _ => (ts_ms, ord + 1),
        };
        let topic = if random.u32(..4) == 0 { DEVICES } else { CLIENTS };
        let id = *random.choice(&IDS).expect("an _id");
        let key = (topic, id);
        let mut state = self.now().clone();
        let old = state.get(&key).cloned();
        let (what, new) = match (&old, random.u32(..10)) {
            (None, _) => (What::Insert, Some(self.document(random, topic))),
            (Some(_), 0..2) => (What::Delete, None),
            (Some(old), 2) => {
                let mut new = self.document(random, topic);
                if seen(old) == seen(&new) {
                    new.insert("name", text(&format!("another {}", random.u32(..1_000))));
                }
                (What::Replace, Some(new))
            }
            (Some(old), 3..6) => update(old, vec![last_seen(random)], Vec::new()),
            (Some(old), _) => {
                let (set, unset) = self.change(random, topic);
                let changed = update(old, set, unset);
                // what changes nothing that people see is a change of `last_seen`, so that it is plain which change was the last
                match &changed.1 {
                    Some(new) if seen(old) != seen(new) => changed,
                    _ => update(old, vec![last_seen(random)], Vec::new()),
                }
            }
        };
        match (&old, &new) {
            (_, None) => drop((state.remove(&key), self.changed.remove(&key))),
            (old, Some(new)) => {
                if old.as_ref().is_none_or(|old| seen(old) != seen(new)) {
                    self.changed.insert(key, is_seen.then_some(self.clock));
                }
                state.insert(key, new.clone());
            }
        }
        self.events.push(Event { topic, id, order: self.clock, what });
        self.states.push(state);
    }

    /// An address for a document: one that no other has, if no two may.
    fn mac(&self, random: &mut Rng, topic: &str) -> Option<String> {
        let is_free = |mac: &&str| {
            self.has_doubles
                || !self.now().iter().any(|((of, _), document)| {
                    *of == topic
                        && document.get("mac").is_some_and(|other| other.eq_ignore_ascii_case(&text(mac)))
                })
        };
        let free: Vec<&str> = MACS.into_iter().filter(is_free).collect();
        let mac = *random.choice(&free)?;
        Some(text(&if random.u32(..8) == 0 { mac.to_uppercase() } else { mac.to_owned() }))
    }

    fn document(&self, random: &mut Rng, topic: &str) -> Document {
        let mut document = Document::new();
        if random.u32(..10) > 0
            && let Some(mac) = self.mac(random, topic)
        {
            document.insert("mac", mac);
        }
        for _ in 0..random.usize(1..5) {
            let (name, value) = field(random, topic);
            document.insert(name, value);
        }
        document.extend([last_seen(random)]);
        if random.u32(..4) == 0 {
            // names that an envelope has
            document.insert("after", text("noon"));
            document.insert("op", text("d"));
            document.insert("source", r#"{"ts_ms": 1}"#.to_owned());
        }
        if random.u32(..6) == 0 {
            document.insert("satisfaction", "NaN".to_owned());
        }
        document
    }

    fn change(&self, random: &mut Rng, topic: &str) -> (Vec<(&'static str, String)>, Vec<&'static str>) {
        if random.u32(..5) == 0 {
            return match self.mac(random, topic).filter(|_mac| random.u32(..4) > 0) {
                Some(mac) => (vec![("mac", mac)], Vec::new()),
                None => (Vec::new(), vec!["mac"]),
            };
        }
        let (name, value) = field(random, topic);
        match random.u32(..4) {
            0 => (vec![last_seen(random)], vec![name]),
            1 => (vec![last_seen(random), (name, value)], Vec::new()),
            _ => (vec![(name, value)], Vec::new()),
        }
    }

    /// The names as they are at the end. Of the documents of an address one of the network's own devices wins, then that which was
    /// changed last, then that which was made last.
    fn called(&self) -> BTreeMap<String, Called> {
        let mut documents: Vec<_> = self
            .now()
            .iter()
            .map(|(key, document)| ((key.0 == DEVICES, self.changed[key], key.1), seen(document)))
            .collect();
        documents.sort_by(|a, b| b.0.cmp(&a.0));
        let mut called: BTreeMap<String, Called> = BTreeMap::new();
        let mut guests: BTreeMap<String, bool> = BTreeMap::new();
        for ((is_device, ..), document) in documents {
            let Some(mac) = document.mac.clone() else { continue };
            if !is_device {
                guests.entry(mac.clone()).or_insert(document.is_guest);
            }
            let Some(label) = document.label(is_device) else { continue };
            let is_guest = (!is_device).then(|| guests[&mac]);
            called.entry(mac).or_insert(Called { label, is_guest });
        }
        called
    }
}

/// What people see of a document.
#[derive(Debug, PartialEq)]
struct Seen {
    mac: Option<String>,
    name: Option<String>,
    hostname: Option<String>,
    oui: Option<String>,
    model: Option<String>,
    is_guest: bool,
}

fn seen(document: &Document) -> Seen {
    let text = |name: &str| {
        let value: Value = serde_json::from_str(document.get(name)?).expect("JSON");
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    Seen {
        mac: text("mac").map(|mac| mac.to_lowercase()),
        name: text("name"),
        hostname: text("hostname"),
        oui: text("oui"),
        model: text("model"),
        is_guest: document.get("is_guest").is_some_and(|is_guest| is_guest.contains("true")),
    }
}

impl Seen {
    fn label(&self, is_device: bool) -> Option<String> {
        match (&self.name, &self.hostname) {
            (name, _) if is_device => name.clone(),
            (Some(name), Some(hostname)) => Some(format!("{name} ({hostname})")),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => {
                let guest = if self.is_guest { "guest" } else { "nonguest" };
                self.oui.as_ref().map(|oui| format!("{guest}_{oui}"))
            }
        }
    }
}

/// A field that people see, and what may stand in it.
fn field(random: &mut Rng, topic: &str) -> (&'static str, String) {
    let nothing = ["null", r#""""#];
    let mut one_of = |texts: &[&str]| match random.u32(..6) {
        0 => nothing[random.usize(..2)].to_owned(),
        _ => text(random.choice(texts).expect("a text")),
    };
    if topic == DEVICES {
        return match one_of(&["name", "name", "model"]).as_str() {
            r#""model""# => ("model", one_of(&["U7PG2", "UGW3"])),
            _ => ("name", one_of(&NAMES)),
        };
    }
    match one_of(&["hostname", "oui", "is_guest", "name"]).as_str() {
        r#""hostname""# => ("hostname", one_of(&["kim-mbp", "リビングTV"])),
        r#""oui""# => ("oui", one_of(&OUIS)),
        r#""is_guest""# => {
            ("is_guest", ["true", "false", r#""true""#, r#""false""#][random.usize(..4)].to_owned())
        }
        _ => ("name", one_of(&NAMES)),
    }
}

fn last_seen(random: &mut Rng) -> (&'static str, String) {
    ("last_seen", format!(r#"{{"$numberLong": "{}"}}"#, random.u32(1_587_765_360..1_600_000_000)))
}

fn update(
    old: &Document,
    set: Vec<(&'static str, String)>,
    unset: Vec<&'static str>,
) -> (What, Option<Document>) {
    let mut new = old.clone();
    new.extend(set.iter().cloned());
    unset.iter().for_each(|name| drop(new.remove(name)));
    (What::Update { set, unset }, Some(new))
}

/// A JSON string.
fn text(text: &str) -> String {
    Value::from(text).to_string()
}

/// A JSON object of these fields, in this order.
fn object<N: AsRef<str>>(fields: impl IntoIterator<Item = (N, String)>) -> String {
    let fields = fields.into_iter().map(|(name, value)| format!("{}: {value}", text(name.as_ref())));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// A document with its `_id`, which is first in every document.
fn whole(id: &str, document: &Document) -> String {
    let fields = document.iter().map(|(name, value)| (*name, value.clone()));
    object(std::iter::once(("_id", extended_id(id))).chain(fields))
}

fn extended_id(id: &str) -> String {
    if id.len() == 24 { format!(r#"{{"$oid": "{id}"}}"#) } else { text(id) }
}

struct Writer<'a> {
    connector: Connector,
    database: &'a Database,
    random: &'a mut Rng,
    clock_ms: i64,
    /// How often documents have moved.
    epoch: i32,
    placed: BTreeMap<(&'static str, &'static str), i32>,
    has_schema: bool,
    key_blanks: usize,
    has_before: bool,
    log: Log,
}

impl Writer<'_> {
    /// Writes a snapshot and what has happened since the event of this number, with a few deaths in between. In the end all is told,
    /// and perhaps some of it again.
    fn write_all(&mut self, begin: usize) {
        let end = self.database.events.len();
        let mut restarts = self.random.usize(..4);
        // how much has happened by now
        let mut now = begin;
        let mut position = begin;
        self.start();
        self.snapshot(&mut now);
        loop {
            while position < end {
                now = now.max(position + 1);
                if self.random.u32(..3) == 0 {
                    now = (now + self.random.usize(..6)).min(end);
                }
                let is_death = restarts > 0 && self.random.u32(..8) == 0;
                self.change(position, now, is_death);
                position += 1;
                if is_death {
                    break;
                }
            }
            if restarts == 0 {
                break;
            }
            restarts -= 1;
            // a death may have come between a deletion and its tombstone: that event is written again
            position -= self.random.usize(1..6).min(position - begin);
            self.start();
            self.move_documents();
            if self.random.u32(..5) == 0 {
                self.snapshot(&mut now);
            }
        }
        // And again a part, of which the end is still to come. In another partition that part is all there is, and of a transaction
        // nobody knows which of its changes was the last.
        if self.epoch == 0 && !self.database.has_transactions && self.random.u32(..4) > 0 {
            let again = self.random.usize(2..12).min(end - begin);
            self.start();
            for number in (end - again..end).take(self.random.usize(1..8)) {
                let is_shown_later = self.random.bool();
                self.change(number, end, is_shown_later);
            }
        }
    }

    /// The connector begins, perhaps a newer one, or with other settings.
    fn start(&mut self) {
        self.has_schema = self.random.bool() && self.connector != Connector::ChangeStream;
        self.key_blanks = self.random.usize(..3);
        self.has_before = self.random.bool();
    }

    /// The topic gets more partitions, or keys are written otherwise than before: either moves documents to other partitions.
    fn move_documents(&mut self) {
        // what an update says that does not carry its document means nothing without what another partition has
        if self.connector.looks_up() && !self.database.has_doubles && self.random.u32(..3) == 0 {
            self.epoch += 1;
            self.placed.clear();
            self.clock_ms += 1_000;
        }
    }

    /// Writes what there is, while more happens.
    fn snapshot(&mut self, now: &mut usize) {
        let keys: Vec<_> = self.database.states[*now].keys().copied().collect();
        let database = self.database;
        for key in keys {
            if self.random.u32(..3) == 0 {
                *now = (*now + self.random.usize(..2)).min(database.events.len());
            }
            let Some(document) = database.states[*now].get(&key) else { continue };
            let value = self.of_snapshot(key, document, *now);
            self.append(key, Some(value));
        }
    }

    fn of_snapshot(
        &mut self,
        (topic, id): (&'static str, &'static str),
        document: &Document,
        now: usize,
    ) -> String {
        let order = match self.connector {
            // the clock, ahead of what is streamed
            Connector::LookUp | Connector::Changes | Connector::Flattened => (self.clock_ms, -1),
            Connector::Oplog | Connector::ChangeStream => {
                now.checked_sub(1).map_or((BEGIN_MS, 0), |last| self.database.events[last].order)
            }
        };
        match self.connector {
            Connector::Flattened => flattened(Some(id), Some(document), "r", order),
            Connector::ChangeStream => object([
                ("_id", object([("_id", extended_id(id)), ("copyingData", "true".to_owned())])),
                ("operationType", text("insert")),
                ("ns", namespace(topic)),
                ("documentKey", object([("_id", extended_id(id))])),
                ("fullDocument", whole(id, document)),
            ]),
            Connector::LookUp | Connector::Changes | Connector::Oplog => {
                let mut fields = self.nothing();
                fields.insert("after", text(&whole(id, document)));
                self.envelope(topic, "r", order, fields)
            }
        }
    }

    /// Writes what happened in an event, when so much has happened.
    fn change(&mut self, number: usize, now: usize, is_death: bool) {
        let database = self.database;
        let event = &database.events[number];
        let key = (event.topic, event.id);
        let then = database.states[number + 1].get(&key);
        let current = database.states[now].get(&key);
        let after = match event.what {
            What::Update { .. } if self.connector.looks_up() => current,
            What::Update { .. } => None,
            What::Insert | What::Replace => then,
            What::Delete => None,
        };
        let before = database.states[number].get(&key);
        let value = match self.connector {
            Connector::LookUp | Connector::Changes => self.of_change_stream(event, before, after),
            Connector::Oplog => self.of_oplog(event, then),
            Connector::Flattened => match (&event.what, after) {
                (What::Delete, _) => flattened(None, None, "d", event.order),
                (What::Insert, after) => flattened(Some(event.id), after, "c", event.order),
                (_, Some(after)) => flattened(Some(event.id), Some(after), "u", event.order),
                (What::Update { set, unset }, None) => flattened_update(event.id, set, unset, event.order),
                (What::Replace, None) => unreachable!("a replacement has its document"),
            },
            Connector::ChangeStream => stream_event(event, number, after),
        };
        self.append(key, Some(value));
        let has_tombstone = matches!(event.what, What::Delete) && self.connector != Connector::ChangeStream;
        if has_tombstone && !(is_death && self.random.bool()) {
            self.append(key, None);
        }
    }

    /// The fields of an envelope, all null: none is ever left out.
    fn nothing(&self) -> BTreeMap<&'static str, String> {
        let names: &[&str] = match self.connector {
            Connector::Oplog => &["after", "patch", "filter"],
            _ => &["before", "after", "updateDescription"],
        };
        names.iter().map(|name| (*name, "null".to_owned())).collect()
    }

    fn of_change_stream(&self, event: &Event, before: Option<&Document>, after: Option<&Document>) -> String {
        let mut fields = self.nothing();
        if let Some(before) = before.filter(|_before| self.has_before) {
            fields.insert("before", text(&whole(event.id, before)));
        }
        if let Some(after) = after {
            fields.insert("after", text(&whole(event.id, after)));
        }
        if let What::Update { set, unset } = &event.what {
            let removed: Vec<String> = unset.iter().map(|name| text(name)).collect();
            let removed =
                if removed.is_empty() { "null".to_owned() } else { format!("[{}]", removed.join(",")) };
            let description = object([
                ("removedFields", removed),
                ("updatedFields", text(&object(set.iter().cloned()))),
                ("truncatedArrays", "null".to_owned()),
            ]);
            fields.insert("updateDescription", description);
        }
        self.envelope(event.topic, operation(&event.what), event.order, fields)
    }

    fn of_oplog(&self, event: &Event, then: Option<&Document>) -> String {
        let mut fields = self.nothing();
        let filter = || text(&object([("_id", extended_id(event.id))]));
        match &event.what {
            What::Insert => {
                fields.insert("after", text(&whole(event.id, then.expect("what was inserted"))));
            }
            What::Replace => {
                fields.insert("patch", text(&whole(event.id, then.expect("what took its place"))));
                fields.insert("filter", filter());
            }
            What::Update { set, unset } => {
                let mut patch = vec![("$v", "1".to_owned())];
                if !unset.is_empty() {
                    patch.push(("$unset", object(unset.iter().map(|name| (*name, "true".to_owned())))));
                }
                if !set.is_empty() {
                    patch.push(("$set", object(set.iter().cloned())));
                }
                fields.insert("patch", text(&object(patch)));
                fields.insert("filter", filter());
            }
            What::Delete => {
                fields.insert("filter", filter());
            }
        }
        self.envelope(event.topic, operation(&event.what), event.order, fields)
    }

    fn envelope(
        &self,
        topic: &str,
        op: &str,
        (ts_ms, ord): Order,
        fields: BTreeMap<&'static str, String>,
    ) -> String {
        let source = object([
            ("version", text(if self.connector == Connector::Oplog { "1.1.0.Final" } else { "3.3.1.Final" })),
            ("connector", text("mongodb")),
            ("name", text("unifi")),
            ("ts_ms", ts_ms.to_string()),
            ("snapshot", text(if op == "r" { "true" } else { "false" })),
            ("db", text("ace")),
            ("collection", text(collection(topic))),
            ("ord", ord.to_string()),
        ]);
        let others = [
            ("source", source),
            ("op", text(op)),
            ("ts_ms", self.clock_ms.to_string()),
            ("transaction", "null".to_owned()),
        ];
        object(fields.into_iter().chain(others))
    }

    fn append(&mut self, key: (&'static str, &'static str), value: Option<String>) {
        self.clock_ms += self.random.i64(0..20);
        let partitions = 2 + self.epoch;
        let random = &mut *self.random;
        let partition = *self.placed.entry(key).or_insert_with(|| random.i32(0..partitions));
        let (topic, id) = key;
        let key = self.key(id).into_bytes();
        let value = value.map(|value| self.in_connect(value).into_bytes());
        let mut write = |value| {
            let record = Written { topic, partition, timestamp: self.clock_ms, key: key.clone(), value };
            self.log.records.push(record);
        };
        if self.random.u32(..25) == 0 {
            write(Some(b"{poison".to_vec()));
            *self.log.unreadable.entry(topic).or_default() += 1;
        }
        write(value);
    }

    fn key(&self, id: &str) -> String {
        let key = match self.connector {
            Connector::Flattened => object([("id", text(id))]),
            Connector::ChangeStream => object([("_id", extended_id(id))]),
            _ => {
                let id = extended_id(id);
                // as releases have written it
                let id = match self.key_blanks {
                    0 => id,
                    1 => id.replace(": ", " : "),
                    _ => id.replace("{\"$oid\": ", "{ \"$oid\" : "),
                };
                object([("id", text(&id))])
            }
        };
        self.in_connect(key)
    }

    /// In the envelope of `JsonConverter`, with `schemas.enable=true`.
    fn in_connect(&self, payload: String) -> String {
        if !self.has_schema {
            return payload;
        }
        object([("schema", r#"{"type":"struct","optional":false}"#.to_owned()), ("payload", payload)])
    }
}

fn operation(what: &What) -> &'static str {
    match what {
        What::Insert => "c",
        What::Replace | What::Update { .. } => "u",
        What::Delete => "d",
    }
}

fn collection(topic: &str) -> &'static str {
    if topic == DEVICES { "device" } else { "user" }
}

fn namespace(topic: &str) -> String {
    object([("db", text("ace")), ("coll", text(collection(topic)))])
}

/// As `ExtractNewDocumentState` has a field: numbers are plain, and what is none is text.
fn plain(value: &str) -> String {
    match value.strip_prefix(r#"{"$numberLong": ""#) {
        Some(number) => number.trim_end_matches("\"}").to_owned(),
        None if value == "NaN" => text(value),
        None => value.to_owned(),
    }
}

fn about(op: &str, (ts_ms, ord): Order) -> [(&'static str, String); 4] {
    [
        ("__deleted", (op == "d").to_string()),
        ("__op", text(op)),
        ("__source_ts_ms", ts_ms.to_string()),
        ("__source_ord", ord.to_string()),
    ]
}

fn flattened(id: Option<&str>, document: Option<&Document>, op: &str, order: Order) -> String {
    let fields = document.into_iter().flatten().map(|(name, value)| (*name, plain(value)));
    object(id.map(|id| ("_id", text(id))).into_iter().chain(fields).chain(about(op, order)))
}

/// Of an update whose document is gone: what it has set and taken away, and `_id` behind that.
fn flattened_update(
    id: &str,
    set: &[(&'static str, String)],
    unset: &[&'static str],
    order: Order,
) -> String {
    let set = set.iter().map(|(name, value)| (*name, plain(value)));
    let unset = unset.iter().map(|name| (*name, "null".to_owned()));
    object(set.chain(unset).chain([("_id", text(id))]).chain(about("u", order)))
}

/// An event of a change stream.
fn stream_event(event: &Event, number: usize, after: Option<&Document>) -> String {
    let (ts_ms, ord) = event.order;
    let operation = match event.what {
        What::Insert => "insert",
        What::Replace => "replace",
        What::Update { .. } => "update",
        What::Delete => "delete",
    };
    let time = object([("t", (ts_ms / 1_000).to_string()), ("i", ord.to_string())]);
    let mut fields = vec![
        ("_id", object([("_data", text(&format!("8263{number:08X}")))])),
        ("operationType", text(operation)),
        ("clusterTime", object([("$timestamp", time)])),
        ("ns", namespace(event.topic)),
        ("documentKey", object([("_id", extended_id(event.id))])),
    ];
    if !matches!(event.what, What::Delete) {
        fields.push(("fullDocument", after.map_or("null".to_owned(), |after| whole(event.id, after))));
    }
    if let What::Update { set, unset } = &event.what {
        let removed: Vec<String> = unset.iter().map(|name| text(name)).collect();
        let description = object([
            ("updatedFields", object(set.iter().cloned())),
            ("removedFields", format!("[{}]", removed.join(","))),
        ]);
        fields.push(("updateDescription", description));
    }
    object(fields)
}
