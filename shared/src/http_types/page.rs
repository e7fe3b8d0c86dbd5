//! Which part of a list is wanted.

use super::{Cursor, Fields, Invalid};

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
