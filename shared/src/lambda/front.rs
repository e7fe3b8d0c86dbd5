//! Who stands before a function: what only CloudFront may say counts only from CloudFront.

use subtle::ConstantTimeEq as _;

use crate::config::{Config, Hidden};
use crate::http_types::Request;

/// The header by which CloudFront is known, as the distribution adds it to what it passes on.
const BY_HEADER: &str = "x-origin-secret";

/// The distribution that a function stands behind, if any.
#[derive(Debug)]
pub struct Front {
    secret: Option<Hidden>,
}

impl Front {
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            secret: config.origin_secret.clone(),
        }
    }

    /// The request as far as it can be believed. A function's own address takes calls from anybody, who may
    /// name any country in CloudFront's header, and rules pay by it: without the secret it is unknown.
    #[must_use]
    pub fn believed(&self, mut request: Request) -> Request {
        let said = request.header(BY_HEADER).unwrap_or_default().as_bytes();
        let is_front = self
            .secret
            .as_ref()
            .is_some_and(|secret| secret.0.as_bytes().ct_eq(said).into());
        request.country = request.country.filter(|_| is_front);
        request
    }
}
