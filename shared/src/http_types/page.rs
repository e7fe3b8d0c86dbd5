//! Which part of a list is wanted.

use jiff::Timestamp;

use super::{Cursor, Fields, Invalid, parse_day, parse_instant};
use crate::period::start_of;

/// Which part of a list is wanted: `limit` 1-200 (default 50), and where the last part ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub limit: usize,
    pub after: Option<Cursor>,
}

impl Page {
    /// Takes `limit` and `cursor`.
    ///
    /// # Errors
    /// `limit_invalid`, `cursor_invalid`.
    pub fn take(fields: &mut Fields) -> Result<Self, Invalid> {
        let limit = fields.parsed("limit", "limit_invalid", |text| {
            match text.parse::<usize>() {
                Ok(limit)
                    if (1..=200).contains(&limit)
                        && text.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    Ok(limit)
                }
                _ => Err(()),
            }
        })?;
        let after = fields.parsed("cursor", "cursor_invalid", |text| {
            Cursor::parse(text).ok_or(())
        })?;
        Ok(Self {
            limit: limit.unwrap_or(50),
            after,
        })
    }

    /// Takes `limit` and `cursor`, and `from`, included, and `to`, excluded, of a list whose places
    /// begin with a time in milliseconds. What ends at the second is the caller's to leave out.
    ///
    /// # Errors
    /// `limit_invalid`, `cursor_invalid`, `instant_invalid`.
    pub fn take_between(fields: &mut Fields) -> Result<(Self, Option<Timestamp>), Invalid> {
        let mut page = Self::take(fields)?;
        let from = instant(fields, "from")?;
        let to = instant(fields, "to")?;
        if let Some(from) = from {
            // No place in a list is just a time: all of that time come after it.
            let start = Cursor::after(format!("{:013}", from.as_millisecond().max(0)));
            let is_later = page
                .after
                .as_ref()
                .is_none_or(|after| after.key() < start.key());
            if is_later {
                page.after = Some(start);
            }
        }
        Ok((page, to))
    }
}

/// An instant, or the first one of a day.
fn instant(fields: &mut Fields, name: &str) -> Result<Option<Timestamp>, Invalid> {
    fields.parsed(name, "instant_invalid", |text| {
        parse_instant(text)
            .or_else(|| parse_day(text).map(start_of))
            .ok_or(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Fields {
        Fields::from_form(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_page_is_1_to_200_and_50_unless_said() {
        assert_eq!(
            Page::take(&mut form("")),
            Ok(Page {
                limit: 50,
                after: None
            })
        );
        for (text, limit) in [
            ("1", Some(1)),
            ("200", Some(200)),
            ("0", None),
            ("201", None),
            ("%2B5", None),
            ("x", None),
        ] {
            assert_eq!(
                Page::take(&mut form(&format!("limit={text}")))
                    .ok()
                    .map(|page| page.limit),
                limit,
                "{text}"
            );
        }
        let cursor = Cursor::after("ab#1");
        assert_eq!(
            Page::take(&mut form(&format!("cursor={cursor}")))
                .unwrap()
                .after,
            Some(cursor)
        );
        assert_eq!(
            Page::take(&mut form("cursor=*")),
            Err(Invalid::new("cursor", "cursor_invalid"))
        );
    }
}
