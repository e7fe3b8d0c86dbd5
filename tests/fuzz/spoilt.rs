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
    parts: Vec<Value>,
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
            collect(value, &mut parts);
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

    /// One place of it: another value, a member more or less, an item twice.
    fn change_json(&self, value: &mut Value, choices: &mut Choices<'_>) {
        let mut left = choices.below(count(value));
        let place = place_in(value, &mut left).expect("there are as many places as were counted");
        let part = match choices.below(4) {
            0 => json!(choices.of(&WORDS)),
            1 => {
                let bits = choices.below(33);
                json!(choices.below(1 << bits))
            }
            _ => self.parts[choices.below(self.parts.len())].clone(),
        };
        match (choices.below(4), place, part) {
            (0, Value::Object(members), Value::Object(more)) => members.extend(more),
            (0, Value::Array(items), part) => items.push(part),
            (1, Value::Object(members), _) => {
                let names: Vec<String> = members.keys().cloned().collect();
                if !names.is_empty() {
                    members.remove(&names[choices.below(names.len())]);
                }
            }
            (1, Value::Array(items), _) if !items.is_empty() => {
                let again = items[choices.below(items.len())].clone();
                items.push(again);
            }
            (_, place, part) => *place = part,
        }
    }
}

fn collect(value: &Value, parts: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, parts)),
        Value::Object(members) => {
            for (name, member) in members {
                parts.push(json!({ name: member }));
                collect(member, parts);
            }
        }
        _ => {}
    }
    parts.push(value.clone());
}

/// A value and all that stands in it.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The place with this number, counted as [`count`] does.
fn place_in<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| place_in(item, left)),
        Value::Object(members) => members
            .iter_mut()
            .find_map(|(_, member)| place_in(member, left)),
        _ => None,
    }
}
