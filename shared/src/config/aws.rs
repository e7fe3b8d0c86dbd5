//! The AWS account a process speaks to: region, credentials, and a client for each service.

use std::time::Duration;

use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};

use super::{ConfigError, Hidden};

/// The SDK itself waits for ever for a table that takes a call and answers nothing.
const ATTEMPT: Duration = Duration::from_secs(3);
/// A caller is told within its own time that the outcome is unknown.
const CALL: Duration = Duration::from_secs(10);

/// Which region, by whose credentials, and the services that are not the region's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aws {
    pub region: String,
    pub access_key: String,
    pub secret_key: Hidden,
    pub session_token: Option<Hidden>,
    pub dynamo_endpoint: Option<String>,
    pub ssm_endpoint: Option<String>,
}

impl Aws {
    /// Reads it by `variable`, which knows the value of a name; an empty one counts as absent.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable to mend.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let optional = |name: &str| variable(name).filter(|value| !value.is_empty());
        let required = |name: &'static str| optional(name).ok_or(ConfigError::Missing(name));
        let region = optional("AWS_REGION").or_else(|| optional("AWS_DEFAULT_REGION"));
        Ok(Self {
            region: region.ok_or(ConfigError::Missing("AWS_REGION"))?,
            access_key: required("AWS_ACCESS_KEY_ID")?,
            secret_key: required("AWS_SECRET_ACCESS_KEY").map(Hidden)?,
            session_token: optional("AWS_SESSION_TOKEN").map(Hidden),
            dynamo_endpoint: optional("AWS_ENDPOINT_URL_DYNAMODB"),
            ssm_endpoint: optional("AWS_ENDPOINT_URL_SSM"),
        })
    }

    /// Reads the process's own environment.
    ///
    /// # Errors
    /// As [`Aws::read`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::read(super::own_variable)
    }

    #[must_use]
    pub fn dynamo(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(ATTEMPT)
                    .operation_timeout(CALL)
                    .build(),
            )
            .credentials_provider(self.credentials());
        config.set_endpoint_url(self.dynamo_endpoint.clone());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    #[must_use]
    pub fn ssm(&self) -> aws_sdk_ssm::Client {
        let mut config = aws_sdk_ssm::Config::builder()
            .behavior_version(aws_sdk_ssm::config::BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(self.credentials());
        config.set_endpoint_url(self.ssm_endpoint.clone());
        aws_sdk_ssm::Client::from_conf(config.build())
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(
            &self.access_key,
            &self.secret_key.0,
            self.session_token.as_ref().map(|token| token.0.clone()),
            None,
            "environment",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_to_the_table_is_waited_for_for_ever() {
        let read = |name: &str| name.starts_with("AWS_").then(|| "any".to_owned());
        let table = Aws::read(read).unwrap().dynamo();
        let timeouts = table.config().timeout_config().unwrap();
        assert_eq!(timeouts.operation_attempt_timeout(), Some(ATTEMPT));
        assert_eq!(timeouts.operation_timeout(), Some(CALL));
    }
}
