//! What every event of a function shares: the table, the keys, and who is asking.

mod keys;

use std::sync::Arc;
use std::time::Duration;

use crate::click::{Click, ClickRefused};
use crate::config::{Config, ConfigError, KeySource};
use crate::http_types::{Fields, Page, Problem, Request};
use crate::ids::PayerId;
use crate::keys::{KeyRing, KeysRefused};
use crate::parameter::{Parameter, ParameterError};
use crate::rights::{ApiKey, Caller, key_id_of};
use crate::setup::Payer;
use crate::store::{Store, StoreError};

pub use keys::{KeyMissed, Keys, Pace};

/// Why a function cannot start: one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the variable `KEYS` holds no usable keys")]
    Keys(#[from] KeysRefused),
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}

/// What all events share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    pub store: Store,
    pub keys: Arc<Keys>,
    /// Without a slash at its end.
    pub public_url: String,
    pub fallback_url: Option<String>,
    /// Whether destinations on plain http at 127.0.0.1 are fine: on one machine only.
    pub is_one_machine: bool,
    /// How long after its gates closed a day's buckets are listed again.
    pub second_listing_after: Duration,
}

impl App {
    /// As the environment has it, for a function on Lambda.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn from_environment() -> Result<Self, StartError> {
        Self::started(Config::from_environment()?).await
    }

    /// The same of a configuration that was read already.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn started(config: Config) -> Result<Self, StartError> {
        crate::lambda::logs(&config.log_level, std::io::stdout);
        Self::of(config, Pace::USUAL).await
    }

    /// As a configuration has it.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn of(config: Config, pace: Pace) -> Result<Self, StartError> {
        let keys = match &config.keys {
            KeySource::Text(text) => Keys::fixed(KeyRing::parse(&text.0)?),
            KeySource::Parameter(name) => {
                Keys::of(Parameter::new(config.aws.ssm(), name), pace).await?
            }
        };
        Ok(Self {
            store: Store::new(config.aws.dynamo(), config.tables),
            keys: Arc::new(keys),
            public_url: config.public_url,
            fallback_url: config.fallback_url,
            is_one_machine: false,
            second_listing_after: config.second_listing_after,
        })
    }

    /// The keys in force; see [`Keys::refresh`].
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.keys.ring()
    }

    /// The click behind an id, or why it is none.
    ///
    /// # Errors
    /// 503, where it names a key that may have been added since the keys were read.
    pub async fn click(&self, id: &str) -> Result<Result<Click, ClickRefused>, Problem> {
        let keys = match Click::key_number(id) {
            Some(number) => self.keys_with(number).await?,
            None => self.keys(),
        };
        Ok(Click::verify(id, &keys))
    }

    /// The keys in force, with the one of this number if there is one; see [`Keys::with`].
    ///
    /// # Errors
    /// 503
    pub async fn keys_with(&self, number: u8) -> Result<Arc<KeyRing>, Problem> {
        let keys = self.keys.with(number).await;
        keys.map_err(|_| Problem::unavailable())
    }

    /// Whoever brings a good key.
    ///
    /// # Errors
    /// 401, the same for every cause; 503.
    pub async fn caller(&self, request: &Request) -> Result<Caller, Problem> {
        let text = request.bearer().ok_or_else(Problem::unauthorised)?;
        let id = key_id_of(text).ok_or_else(Problem::unauthorised)?;
        let key = self
            .store
            .record::<ApiKey>(id.as_str())
            .await
            .map_err(unavailable)?;
        key.and_then(|key| key.record.admits(text, request.now))
            .ok_or_else(Problem::unauthorised)
    }

    /// Whose money a request is about: the payer that it names, or the only one there is.
    ///
    /// # Errors
    /// 422 `payer_required`, `payer_unknown`; 503.
    pub async fn payer(&self, fields: &mut Fields) -> Result<Payer, Problem> {
        let named = fields.parsed("payer", "payer_unknown", PayerId::parse)?;
        let id = match named {
            Some(id) => id,
            None if self.has_several_payers().await.map_err(unavailable)? => {
                return Err(Problem::invalid("payer_required", "payer"));
            }
            None => PayerId::house(),
        };
        let found = self.store.record::<Payer>(id.as_str()).await;
        match found.map_err(unavailable)? {
            Some(payer) => Ok(payer.record),
            None if id == PayerId::house() => Ok(Payer::house()),
            None => Err(Problem::invalid("payer_unknown", "payer")),
        }
    }

    async fn has_several_payers(&self) -> Result<bool, StoreError> {
        if self.store.has_several::<Payer>().await? {
            return Ok(true);
        }
        let first = Page {
            limit: 2,
            after: None,
        };
        let (payers, _) = self.store.records::<Payer>(None, &first).await?;
        let house = PayerId::house();
        Ok(payers.iter().any(|payer| payer.record.id != house))
    }
}

/// Random bytes of the system's. With the feature `few-shards`, which no deployed binary has, they
/// come from the thread's own generator: a simulated world is the same again by its seed.
///
/// # Panics
/// Where the system has none: nothing could be signed.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if cfg!(feature = "few-shards") {
        fastrand::fill(&mut bytes);
    } else {
        getrandom::fill(&mut bytes).expect("the system gives random bytes");
    }
    bytes
}

/// Logs the failure once, and says that repeating is safe.
#[must_use]
pub fn unavailable(error: StoreError) -> Problem {
    tracing::error!(error = %error, "the table failed a request");
    Problem::unavailable()
}
