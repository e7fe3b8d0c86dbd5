//! Robots that say so: the public list of what stands in their names, and link previews.
//!
//! `isbot.json` is the pattern list of the npm package `isbot` 5.2.3, which is in the public
//! domain (Unlicense), as it is shipped. To refresh it, from the repository's root:
//!
//! ```sh
//! folder=$(mktemp -d) && npm install --silent --no-save --prefix "$folder" isbot \
//!   && node -p "JSON.stringify(require('$folder/node_modules/isbot').list, null, 1)" > shared/src/traffic/isbot.json
//! ```
//!
//! Most of its patterns are plain text, so one automaton looks for all of them at once, a
//! hundred times faster than an engine for regular expressions. The few that are not plain are
//! read by hand in [`BY_HAND`]; a refresh that brings another fails a test here.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Whether a robot's mark stands in this user agent. Only for one that is shaped like a
/// browser's: what the list says of the beginning of a text is left to the rule of shape.
pub(super) fn is_listed(user_agent: &str) -> bool {
    static ROBOTS: LazyLock<Marks> = LazyLock::new(|| {
        Marks::new(
            list()
                .iter()
                .filter_map(|pattern| Mark::of_pattern(pattern))
                .flatten()
                .collect(),
        )
    });
    ROBOTS.stands_in(user_agent)
}

/// Whether somebody's messenger or network is looking at the link to draw a preview of it.
pub(super) fn is_link_preview(user_agent: &str) -> bool {
    static PREVIEWS: LazyLock<Marks> = LazyLock::new(|| {
        Marks::new(
            PREVIEWS_BY_NAME
                .iter()
                .map(|text| Mark::plain(text))
                .collect(),
        )
    });
    PREVIEWS.stands_in(user_agent)
}

const PREVIEWS_BY_NAME: &[&str] = &[
    "bitlybot",
    "discordbot",
    "embedly",
    "facebookbot",
    "facebookcatalog",
    "facebookexternalhit",
    "facebot",
    "google-pagerenderer",
    "iframely",
    "line-poker",
    "linkedinbot",
    "mattermost-bot",
    "meta-externalfetcher",
    "microsoftpreview",
    "outbrain",
    "pinterestbot",
    "redditbot",
    "skypeuripreview",
    "slack-imgproxy",
    "slackbot",
    "telegrambot",
    "tumblr/",
    "twitterbot",
    "viberbot",
    "vkshare",
    "whatsapp/",
    "yahoo link preview",
    "zoombot",
];

/// How a pattern that is no plain text is read. The order is the list's.
const BY_HAND: &[(&str, &[Mark])] = &[
    (" daum[ /]", &[Mark::plain(" daum "), Mark::plain(" daum/")]),
    (
        "(?:^|[^g])news(?!sapphire)",
        &[Mark {
            not_after: &["g"],
            not_before: &["sapphire"],
            ..Mark::plain("news")
        }],
    ),
    (
        "(?<! channel/|google/)google(?!(?:wv|app|/google| pixel))",
        &[Mark {
            not_after: &[" channel/", "google/"],
            not_before: &["wv", "app", "/google", " pixel"],
            ..Mark::plain("google")
        }],
    ),
    (
        r"(?<! cu)bots?(?:\b|_)",
        &[
            Mark {
                not_after: &[" cu"],
                ends_a_word: true,
                ..Mark::plain("bot")
            },
            Mark {
                not_after: &[" cu"],
                ..Mark::plain("bot_")
            },
            Mark {
                not_after: &[" cu"],
                ends_a_word: true,
                ..Mark::plain("bots")
            },
            Mark {
                not_after: &[" cu"],
                ..Mark::plain("bots_")
            },
        ],
    ),
    (
        "(?<!cam)scan",
        &[Mark {
            not_after: &["cam"],
            ..Mark::plain("scan")
        }],
    ),
    (
        "(?<!lib)http",
        &[Mark {
            not_after: &["lib"],
            ..Mark::plain("http")
        }],
    ),
    // A text that ends in `; word;`: none that is shaped like a browser's does.
    (r";\s\w+;$", &[]),
    // An address to write to, not a version as in `android@150.0`.
    (
        r"@[a-z][\w-]+\.",
        &[Mark {
            not_before: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
            ..Mark::plain("@")
        }],
    ),
    (r"\b\w+/1\.0;", &[Mark::plain("/1.0;")]),
    (
        "java(?!;)",
        &[Mark {
            not_before: &[";"],
            ..Mark::plain("java")
        }],
    ),
    (r"ptst[ /]\d", &[Mark::plain("ptst/"), Mark::plain("ptst ")]),
];

/// A text that gives a robot away, unless one of the others stands directly before or behind.
#[derive(Debug, Clone, Copy)]
struct Mark {
    text: &'static str,
    begins_a_word: bool,
    ends_a_word: bool,
    not_after: &'static [&'static str],
    not_before: &'static [&'static str],
}

impl Mark {
    const fn plain(text: &'static str) -> Self {
        Self {
            text,
            begins_a_word: false,
            ends_a_word: false,
            not_after: &[],
            not_before: &[],
        }
    }

    /// `None` for a pattern that nobody has read yet.
    fn of_pattern(pattern: &str) -> Option<Vec<Self>> {
        // Tied to the beginning, where the rule of shape lets nothing but a browser pass.
        if pattern.starts_with('^') {
            return Some(Vec::new());
        }
        if let Some((_, marks)) = BY_HAND.iter().find(|(by_hand, _)| *by_hand == pattern) {
            return Some(marks.to_vec());
        }

        let text = pattern.strip_prefix(r"\b").unwrap_or(pattern);
        let begins_a_word = text.len() < pattern.len();
        let word = text.strip_suffix(r"\b").unwrap_or(text);
        let ends_a_word = word.len() < text.len();
        let mut unescaped = String::with_capacity(word.len());
        let mut characters = word.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => unescaped.push(characters.next().filter(char::is_ascii_punctuation)?),
                '(' | ')' | '[' | ']' | '{' | '}' | '|' | '?' | '*' | '+' | '.' | '$' => {
                    return None;
                }
                plain => unescaped.push(plain),
            }
        }
        // The list lives as long as the process does.
        Some(vec![Self {
            begins_a_word,
            ends_a_word,
            ..Self::plain(unescaped.leak())
        }])
    }

    /// Whether the finding at `start..end` counts.
    fn counts(&self, text: &[u8], start: usize, end: usize) -> bool {
        let (before, behind) = (&text[..start], &text[end..]);
        let is_word = |byte: Option<&u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        };
        if self.begins_a_word && is_word(before.last())
            || self.ends_a_word && is_word(behind.first())
        {
            return false;
        }
        let ends_with = |other: &&str| {
            before
                .len()
                .checked_sub(other.len())
                .is_some_and(|at| before[at..].eq_ignore_ascii_case(other.as_bytes()))
        };
        let starts_with = |other: &&str| {
            behind
                .get(..other.len())
                .is_some_and(|part| part.eq_ignore_ascii_case(other.as_bytes()))
        };
        !self.not_after.iter().any(ends_with) && !self.not_before.iter().any(starts_with)
    }
}

struct Marks {
    marks: Vec<Mark>,
    automaton: AhoCorasick,
}

impl Marks {
    fn new(marks: Vec<Mark>) -> Self {
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(marks.iter().map(|mark| mark.text))
            .expect("a few hundred short texts fit an automaton");
        Self { marks, automaton }
    }

    fn stands_in(&self, text: &str) -> bool {
        self.automaton.find_overlapping_iter(text).any(|found| {
            let mark = &self.marks[found.pattern().as_usize()];
            mark.counts(text.as_bytes(), found.start(), found.end())
        })
    }
}

fn list() -> Vec<String> {
    serde_json::from_str(include_str!("isbot.json")).expect("a test reads the same file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_list_is_plain_or_read_by_hand() {
        for pattern in list() {
            assert!(
                Mark::of_pattern(&pattern).is_some(),
                "read `{pattern}` by hand in BY_HAND"
            );
        }
        for (pattern, _) in BY_HAND {
            assert!(
                list().iter().any(|listed| listed == pattern),
                "the list no longer has `{pattern}`"
            );
        }
    }

    #[test]
    fn a_mark_counts_only_where_its_neighbours_allow_it() {
        for robot in [
            "a bot",
            "a Bots_",
            "robot/1.0",
            "x bot;",
            "news",
            "GOOGLE",
            "http",
            "scan",
            "Java/8",
            "agent",
        ] {
            assert!(is_listed(robot), "{robot}");
        }
        for person in [
            "CUBOT X19",
            "a CuBot",
            "bottle",
            "gnews",
            "NewsSapphire",
            "GoogleApp",
            "Google Pixel 9",
        ] {
            assert!(!is_listed(&format!("b {person}")), "{person}");
        }
        for person in [
            "CamScanner",
            "android@150.0",
            "libhttp",
            "java;",
            "agents",
            "monitors",
        ] {
            assert!(!is_listed(person), "{person}");
        }
    }
}
