//! The SSM parameter that holds the signing keys of an installation.

use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::BoxError;
use aws_sdk_ssm::types::ParameterType;

use crate::keys::{KeyRing, KeysRefused};

/// What is wrong with the parameter: one line for the operator, and its cause.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    #[error("there is no parameter `{0}`: make it with `clickledger keys init --parameter {0}`")]
    Absent(String),
    #[error("the parameter `{0}` exists already, and stays as it is")]
    Exists(String),
    #[error("the parameter `{0}` holds no usable keys")]
    Unusable(String, #[source] KeysRefused),
    #[error("the parameter `{0}` cannot be read")]
    Unread(String, #[source] BoxError),
    #[error("the parameter `{0}` cannot be written")]
    Unwritten(String, #[source] BoxError),
    #[error("the parameter `{0}` was not read within {1:?}")]
    Late(String, Duration),
}

/// A SecureString by its name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Parameter {
    client: Client,
    name: String,
}

impl Parameter {
    #[must_use]
    pub fn new(client: Client, name: &str) -> Self {
        let name = name.to_owned();
        Self { client, name }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ring that it holds.
    ///
    /// # Errors
    /// [`ParameterError`]
    pub async fn read(&self) -> Result<KeyRing, ParameterError> {
        let asked = self.client.get_parameter().name(&self.name);
        let answer = asked.with_decryption(true).send().await.map_err(|error| {
            match error.as_service_error() {
                Some(cause) if cause.is_parameter_not_found() => self.absent(),
                _ => ParameterError::Unread(self.name.clone(), error.into()),
            }
        })?;
        let text = answer.parameter.and_then(|parameter| parameter.value);
        KeyRing::parse(&text.unwrap_or_default())
            .map_err(|refused| ParameterError::Unusable(self.name.clone(), refused))
    }

    /// As [`Self::read`], if that takes no longer than `wait`.
    ///
    /// # Errors
    /// [`ParameterError`]
    pub async fn read_within(&self, wait: Duration) -> Result<KeyRing, ParameterError> {
        tokio::time::timeout(wait, self.read())
            .await
            .unwrap_or_else(|_| Err(ParameterError::Late(self.name.clone(), wait)))
    }

    /// Makes it; one that exists is never overwritten, since whatever its keys signed would be lost.
    ///
    /// # Errors
    /// [`ParameterError`]
    pub async fn create(&self, ring: &KeyRing) -> Result<(), ParameterError> {
        self.put(ring, false).await
    }

    /// Puts a changed ring in the place of the one it was made from.
    ///
    /// # Errors
    /// [`ParameterError`]
    pub async fn replace(&self, ring: &KeyRing) -> Result<(), ParameterError> {
        self.put(ring, true).await
    }

    async fn put(&self, ring: &KeyRing, overwrite: bool) -> Result<(), ParameterError> {
        let asked = self.client.put_parameter().name(&self.name);
        let written = asked
            .r#type(ParameterType::SecureString)
            .value(ring.to_json())
            .overwrite(overwrite)
            .send()
            .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.as_service_error() {
                Some(cause) if cause.is_parameter_already_exists() => {
                    ParameterError::Exists(self.name.clone())
                }
                _ => ParameterError::Unwritten(self.name.clone(), error.into()),
            }),
        }
    }

    fn absent(&self) -> ParameterError {
        ParameterError::Absent(self.name.clone())
    }
}
