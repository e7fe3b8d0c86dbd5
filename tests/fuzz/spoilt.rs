//! How a good input is spoilt: by choices that an engine makes, so that it can learn from what
//! they lead to, and leave out those that a failure does not need.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

/// With more changes little is left that a reader would go into.
const CHANGES_MOST: usize = 3;

/// The bytes at most that one change takes from the choices as they are.
const BYTES_MOST: usize = 8;

/// Words that some reader goes by.
const WORDS: [&str; 80] = [
    "",
    "0",
    "1",
    "-1",
    "+1",
    "00",
    "0.5",
    ".5",
    "5.",
    "1e3",
    "12.345",
    "1,000",
    "4294967296",
    "18446744073709551616",
    "1000000000000000",
    "10000000000000.01",
    "0.000000000000000000000000000000",
    "NaN",
    "null",
    "true",
    "false",
    "{}",
    "[]",
    "[[a]]",
    "{a}",
    "{click_id}",
    "{sub1}",
    "#a#",
    "\"",
    "\\u0000",
    "\0",
    "\r\n",
    "\n",
    "\t",
    " ",
    "%",
    "%00",
    "%0d%0aset-cookie:%20a=b",
    "%ff",
    "&",
    "=",
    "+",
    ";",
    ",",
    ":",
    "/",
    "//",
    "?",
    "#",
    "@",
    "\\",
    "'",
    "..",
    "\u{fc}",
    "\u{202e}",
    "\u{feff}",
    "\u{1f45f}",
    "\u{661}",
    "EUR",
    "JPY",
    "KWD",
    "XXX",
    "sale",
    "SALE",
    "lead",
    "*",
    "anna",
    "bert",
    "0d",
    "36500d",
    "999999h",
    "2026-07-01",
    "2026-02-30",
    "2026-07-01T10:00:00Z",
    "2026-07-01T10:00:00+02:00",
    "9999-12-31",
    "9999-12-31T23:59:59.999999999Z",
    "0000-00-00",
    "https://evil.example/",
    "https://shop.example@evil.example/",
];

/// What a check is given.
pub struct Input(pub Vec<u8>);

impl Input {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// On one line, whatever is in it.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Bytes that an engine made, taken one after the other; after the last of them all are zero.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// From 0 up, `end` excluded; of nothing 0.
    fn below(&mut self, end: usize) -> usize {
        let (mut number, mut reach) = (0, 1);
        while reach < end {
            number = number << 8 | usize::from(self.byte());
            reach <<= 8;
        }
        number % end.max(1)
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// What inputs are made of: the seeds of one target.
pub struct Spoilt {
    seeds: Vec<Vec<u8>>,
    /// The same as JSON; empty where one of them is none.
    values: Vec<Value>,
    /// All that stands in them: scalars, lists, and objects of one member.
    parts: Vec<Part>,
}

struct Part {
    name: String,
    value: Value,
}

impl Spoilt {
    /// The seeds in `corpus/<name>`: a line each, or, in a file of longer ones, what stands between
    /// lines of `---`.
    pub fn of(name: &str) -> Self {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let text = std::fs::read_to_string(corpus.join(name)).expect("each target has its seeds");
        let seeds: Vec<Vec<u8>> = if text.contains("\n---\n") {
            text.trim_end().split("\n---\n").map(Into::into).collect()
        } else {
            text.lines().map(Into::into).collect()
        };
        let read = seeds.iter().map(|seed| serde_json::from_slice(seed));
        let values: Vec<Value> = read.collect::<Result<_, _>>().unwrap_or_default();
        let mut parts = Vec::new();
        for value in &values {
            for Place { pointer, name } in places(value) {
                let part = value
                    .pointer(&pointer)
                    .expect("a place is where it was found");
                if !name.is_empty() {
                    let member = json!({ name.as_str(): part });
                    parts.push(Part {
                        name: String::new(),
                        value: member,
                    });
                }
                parts.push(Part {
                    name,
                    value: part.clone(),
                });
            }
        }
        Self {
            seeds,
            values,
            parts,
        }
    }

    /// Each seed as it is.
    pub fn seeds(&self) -> impl Iterator<Item = Input> {
        self.seeds.iter().map(|seed| Input(seed.clone()))
    }

    /// The input that these choices make.
    pub fn input(&self, choices: &[u8]) -> Input {
        let mut choices = Choices(choices);
        let changes = choices.below(CHANGES_MOST + 1);
        let stays_json = !self.values.is_empty() && choices.below(4) > 0;
        if stays_json {
            let mut value = self.values[choices.below(self.values.len())].clone();
            for _ in 0..changes {
                self.change_json(&mut value, &mut choices);
            }
            return Input(value.to_string().into_bytes());
        }
        let mut bytes = self.seeds[choices.below(self.seeds.len())].clone();
        for _ in 0..changes {
            self.change(&mut bytes, &mut choices);
        }
        Input(bytes)
    }

    fn change(&self, bytes: &mut Vec<u8>, choices: &mut Choices<'_>) {
        let from = choices.below(bytes.len() + 1);
        let to = (from + choices.below(17)).min(bytes.len());
        match choices.below(8) {
            0 => drop(bytes.splice(from..from, choices.of(&WORDS).bytes())),
            1 => drop(bytes.splice(from..to, choices.of(&WORDS).bytes())),
            2 => drop(bytes.drain(from..to)),
            3 => {
                let again = bytes[from..to].to_vec();
                drop(bytes.splice(from..from, again));
            }
            4 => {
                let length = choices.below(BYTES_MOST + 1);
                let own: Vec<u8> = (0..length).map(|_| choices.byte()).collect();
                drop(bytes.splice(from..to, own));
            }
            5 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << choices.below(8);
                }
            }
            6 => {
                let mut rest = bytes[from..].iter_mut();
                if let Some(digit) = rest.find(|byte| byte.is_ascii_digit()) {
                    *digit = b"0123456789"[choices.below(10)];
                }
            }
            _ => {
                let other = &self.seeds[choices.below(self.seeds.len())];
                bytes.truncate(from);
                bytes.extend_from_slice(&other[choices.below(other.len() + 1)..]);
            }
        }
    }

    /// One place of it: a part more or less, or another value, mostly one that stands under the same
    /// name elsewhere.
    fn change_json(&self, value: &mut Value, choices: &mut Choices<'_>) {
        let places = places(value);
        let place = &places[choices.below(places.len())];
        if choices.below(4) == 0 {
            return leave_out(value, &place.pointer);
        }
        let part = match choices.below(8) {
            0 => json!(choices.of(&WORDS)),
            1 => {
                let bits = choices.below(33);
                json!(choices.below(1 << bits))
            }
            2 | 3 => self.parts[choices.below(self.parts.len())].value.clone(),
            _ => {
                let of_name = |part: &&Part| part.name == place.name;
                let parts: Vec<&Part> = self.parts.iter().filter(of_name).collect();
                match parts.get(choices.below(parts.len())) {
                    Some(part) => part.value.clone(),
                    None => Value::Null,
                }
            }
        };
        let place = value.pointer_mut(&place.pointer);
        match (choices.below(4), place, part) {
            (0, Some(Value::Object(members)), Value::Object(more)) => members.extend(more),
            (0, Some(Value::Array(items)), part) => items.push(part),
            (_, Some(place), part) => *place = part,
            (_, None, _) => unreachable!("a place is where it was found"),
        }
    }
}

/// Where something stands: RFC 6901. An item goes by its list's name.
struct Place {
    pointer: String,
    name: String,
}

/// A value and all that stands in it.
fn places(value: &Value) -> Vec<Place> {
    fn find(value: &Value, pointer: String, name: &str, places: &mut Vec<Place>) {
        match value {
            Value::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    find(item, format!("{pointer}/{number}"), name, places);
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let escaped = name.replace('~', "~0").replace('/', "~1");
                    find(member, format!("{pointer}/{escaped}"), name, places);
                }
            }
            _ => {}
        }
        let name = name.to_owned();
        places.push(Place { pointer, name });
    }
    let mut found = Vec::new();
    find(value, String::new(), "", &mut found);
    found
}

/// The value without this part; the whole of it stays.
fn leave_out(value: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        return;
    };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
        Some(Value::Array(items)) => {
            items.remove(last.parse().expect("an item goes by its number"));
        }
        _ => unreachable!("a part stands in a list or an object"),
    }
}
