//! All that the environment says, read once at the start.

mod aws;

use std::fmt;
use std::time::Duration;

use crate::store::Tables;

pub use aws::Aws;

/// Where a Query is not serialised with transactions, one that was under way when the gates closed
/// shows a minute later at the latest.
const SECOND_LISTING_AFTER: Duration = Duration::from_secs(60);

/// A variable that is missing or wrong. Never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("the environment variable `{0}` is missing")]
    Missing(&'static str),
    #[error("the environment variable `{0}` is not {1}")]
    Wrong(&'static str, &'static str),
}

/// Nobody guesses as many characters.
const SECRET_LEAST: usize = 32;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

/// Where the signing keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// The name of an SSM SecureString.
    Parameter(String),
    /// The keys themselves, for local use and tests.
    Text(Hidden),
}

/// Everything a function is told from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub tables: Tables,
    pub keys: KeySource,
    /// Without a slash at its end: what tracked links begin with.
    pub public_url: String,
    /// Where visitors of unknown links go while the table is away.
    pub fallback_url: Option<String>,
    /// What CloudFront is known by, if a distribution stands before the functions.
    pub origin_secret: Option<Hidden>,
    /// A level or a list like `warn,shared=debug`.
    pub log_level: String,
    /// How long after its gates closed a day's buckets are listed again.
    pub second_listing_after: Duration,
    pub aws: Aws,
}

impl Config {
    /// Reads it by `variable`, which knows the value of a name; an empty one counts as absent.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable to mend.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let optional = |name: &str| variable(name).filter(|value| !value.is_empty());
        let required = |name: &'static str| optional(name).ok_or(ConfigError::Missing(name));
        let keys = match (optional("KEYS_PARAMETER"), optional("KEYS")) {
            (Some(name), _) => KeySource::Parameter(name),
            (None, Some(text)) => KeySource::Text(Hidden(text)),
            (None, None) => return Err(ConfigError::Missing("KEYS_PARAMETER")),
        };
        let address = |name: &'static str, value: &str| match url::Url::parse(value) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(()),
            _ => Err(ConfigError::Wrong(name, "an http or https address")),
        };
        let public_url = required("PUBLIC_URL")?;
        address("PUBLIC_URL", &public_url)?;
        let fallback_url = optional("FALLBACK_URL");
        if let Some(fallback) = &fallback_url {
            address("FALLBACK_URL", fallback)?;
        }
        Ok(Self {
            tables: Tables {
                core: required("TABLE_NAME")?,
                ledger: required("LEDGER_TABLE_NAME")?,
            },
            keys,
            public_url: public_url.trim_end_matches('/').to_owned(),
            origin_secret: match optional("ORIGIN_SECRET") {
                Some(secret) if secret.len() < SECRET_LEAST => {
                    return Err(ConfigError::Wrong("ORIGIN_SECRET", "32 characters or more"));
                }
                secret => secret.map(Hidden),
            },
            fallback_url,
            second_listing_after: match optional("SECOND_LISTING_SECONDS") {
                None => SECOND_LISTING_AFTER,
                Some(seconds) => seconds.parse().map(Duration::from_secs).map_err(|_| {
                    ConfigError::Wrong("SECOND_LISTING_SECONDS", "a whole number of seconds")
                })?,
            },
            log_level: optional("LOG_LEVEL").unwrap_or_else(|| "info".to_owned()),
            aws: Aws::read(&variable)?,
        })
    }

    /// Reads the process's own environment.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::read(own_variable)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn own_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &[(&str, &str)] = &[
        ("TABLE_NAME", "core"),
        ("LEDGER_TABLE_NAME", "ledger"),
        ("KEYS", "{}"),
        ("PUBLIC_URL", "https://go.example/"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "canary"),
    ];

    fn read(without: &str, with: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            let given = with
                .iter()
                .chain(GIVEN.iter().filter(|(name, _)| *name != without));
            given
                .clone()
                .find(|(given, _)| *given == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn what_is_missing_is_named() {
        let config = read("", &[]).unwrap();
        assert_eq!(config.public_url, "https://go.example");
        assert!(!format!("{config:?}").contains("canary"));
        for name in [
            "TABLE_NAME",
            "LEDGER_TABLE_NAME",
            "PUBLIC_URL",
            "AWS_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            assert_eq!(read(name, &[]), Err(ConfigError::Missing(name)));
            assert_eq!(read("", &[(name, "")]), Err(ConfigError::Missing(name)));
        }
        assert_eq!(
            read("KEYS", &[]),
            Err(ConfigError::Missing("KEYS_PARAMETER"))
        );
        assert_eq!(
            read("", &[("FALLBACK_URL", "shop")]),
            Err(ConfigError::Wrong(
                "FALLBACK_URL",
                "an http or https address"
            ))
        );
    }

    #[test]
    fn the_second_listing_comes_a_minute_later_unless_it_is_told_otherwise() {
        let after = |seconds| {
            let given = [("SECOND_LISTING_SECONDS", seconds)];
            read("", &given).map(|config| config.second_listing_after.as_secs())
        };
        assert_eq!(
            (after(""), after("0"), after("90")),
            (Ok(60), Ok(0), Ok(90))
        );
        let wrong = ConfigError::Wrong("SECOND_LISTING_SECONDS", "a whole number of seconds");
        assert_eq!(
            (after("-1"), after("1.5")),
            (Err(wrong.clone()), Err(wrong))
        );
    }

    #[test]
    fn an_operator_may_name_the_region_as_the_command_line_tools_do() {
        let by_default = read("AWS_REGION", &[("AWS_DEFAULT_REGION", "eu-west-1")]).unwrap();
        assert_eq!(by_default.aws.region, "eu-west-1");
        let by_both = read("", &[("AWS_DEFAULT_REGION", "eu-west-1")]).unwrap();
        assert_eq!(by_both.aws.region, "eu-central-1");
    }
}
