//! The redirect function: a visitor follows a link, and is on the way within 300 ms.

mod cache;
mod location;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::{HeaderName, Method, StatusCode, header};
use jiff::SignedDuration;
use shared::app::{App, random};
use shared::click::{Click, Clicking, LinkId, Visitor};
use shared::http_types::{Problem, Request, Response};
use shared::setup::{AffiliateStatus, Link, ProgramStatus, Slug};
use shared::store::{ClickRecord, StoreError};
use shared::traffic::{self, Class};
use tokio::time::Instant;

pub use cache::Pace;
use cache::{Cache, Known};
use location::{Location, Parameters};

/// How long a click's record outlives its window.
const MARGIN_DAYS: i64 = 7;
const YEAR_SECONDS: u32 = 31_536_000;
/// The longest that a visitor waits for the table, whatever it was asked.
const WAIT: Duration = Duration::from_millis(300);

/// What all clicks of one instance share.
#[derive(Debug)]
pub struct Redirect {
    app: App,
    cache: Cache,
}

impl Redirect {
    #[must_use]
    pub fn new(app: App) -> Self {
        Self::at(app, Pace::USUAL)
    }

    /// At another pace than the usual one.
    #[must_use]
    pub fn at(app: App, pace: Pace) -> Self {
        let cache = Cache::new(&app, pace);
        Self { app, cache }
    }
}

/// Answers one request.
pub async fn handle(state: &Redirect, request: Request) -> Response {
    answer(state, &request).await.into()
}

async fn answer(state: &Redirect, request: &Request) -> Result<Response, Problem> {
    let slug = request
        .path
        .strip_prefix("/r/")
        .and_then(|slug| Slug::parse(slug).ok())
        .ok_or_else(Problem::not_found)?;
    if request.method != Method::GET && request.method != Method::HEAD {
        return Err(Problem::method_not_allowed("GET, HEAD"));
    }
    if traffic::is_prefetch(&request.headers) {
        // The real visit asks again, and that one is the click.
        let slug = slug.as_str();
        tracing::info!(
            link.slug = slug,
            prefetches = 1,
            "`{slug}` was loaded in advance"
        );
        return Ok(Response::empty(StatusCode::SERVICE_UNAVAILABLE)
            .with(header::VARY, "Sec-Purpose")
            .with(HeaderName::from_static("x-robots-tag"), "noindex"));
    }

    let deadline = Instant::now() + WAIT;
    // Side by side, so that a slow parameter takes nothing from the time for the link.
    let (link, ()) = futures_util::join!(
        state.cache.link(&state.app, &slug),
        state.app.keys.refresh(),
    );
    let known = match link {
        Ok(Some(known)) => known,
        Ok(None) => return Err(Problem::not_found()),
        Err(_) => {
            return match &state.app.fallback_url {
                Some(fallback) => Ok(sent_on(fallback)),
                None => Err(Problem::unavailable()),
            };
        }
    };
    visit(state, request, &known, deadline).await
}

async fn visit(
    state: &Redirect,
    request: &Request,
    known: &Known,
    deadline: Instant,
) -> Result<Response, Problem> {
    let (link, program) = (&known.link, &known.program);
    let parameters = Parameters::of(&request.query);
    let is_test = link.test || parameters.is_test();
    let is_active = known.affiliate.status == AffiliateStatus::Active
        && match program.status {
            ProgramStatus::Active => true,
            ProgramStatus::Draft => is_test,
            ProgramStatus::Paused | ProgramStatus::Ended => false,
        };
    let destination = if is_active {
        link.destination.as_ref().unwrap_or(&program.destination)
    } else {
        program.fallback.as_ref().ok_or_else(Problem::not_found)?
    };
    let location = Location {
        destination,
        program,
        link,
        parameters: &parameters,
        takes_deep_links: is_active,
        is_one_machine: state.app.is_one_machine,
    };
    let cookie = Cookie::of(request);
    if request.method == Method::HEAD {
        return Ok(cookie.set_on(sent_on(&location.with(None)), request.https));
    }

    let objection = traffic::objection(&request.headers);
    let keys = state.app.keys();
    let click = Click::mint(
        &Clicking {
            link: LinkId::of(link.slug.as_str()),
            visitor: Visitor::of(&cookie.value, &program.id, &keys),
            now: request.now,
            random: random(),
            class: objection.map_or(Class::Human, traffic::Reason::class),
            is_view: false,
            is_test,
            is_consent_denied: cookie.is_denied,
            is_program_paused: !is_active,
        },
        &keys,
    );
    let target = location.with(Some(click.id().as_str()));
    let record = ClickRecord {
        program: program.id.clone(),
        affiliate: link.affiliate.clone(),
        slug: link.slug.to_string(),
        reason: objection.map(|reason| reason.as_str().to_owned()),
        tags: parameters.tags(),
        country: request.country.clone(),
        device: traffic::Device::of(&request.headers).as_str().to_owned(),
        browser: traffic::browser(&request.headers).to_owned(),
        language: traffic::language(&request.headers),
        landing: location::host_of(&target),
    };
    let kept_for = SignedDuration::from_secs(i64::from(program.click_window.seconds()))
        + SignedDuration::from_hours(24 * MARGIN_DAYS);
    let expires_at = request.now.checked_add(kept_for).unwrap_or(request.now);
    let recording = state.app.store.record_click(&click, &record, expires_at);
    let recorded = tokio::time::timeout_at(deadline, recording)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable("300 ms were over".to_owned())));
    if let Err(error) = recorded {
        lost(link, &error);
    }

    Ok(cookie.set_on(sent_on(&target), request.https))
}

/// The id itself carries the claim, so the visitor goes on; a statistic misses one.
fn lost(link: &Link, error: &StoreError) {
    let slug = link.slug.as_str();
    tracing::warn!(link.slug = slug, lost_clicks = 1, error = %error, "could not record a click of `{slug}`");
}

fn sent_on(target: &str) -> Response {
    Response::redirect(target).with(HeaderName::from_static("x-robots-tag"), "noindex")
}

/// The first-party cookie that makes two clicks of one visitor one journey.
struct Cookie {
    value: [u8; 16],
    is_new: bool,
    /// The visitor asked not to be followed (Global Privacy Control).
    is_denied: bool,
}

impl Cookie {
    /// Over https only the name that no other host of the domain can set.
    fn name(https: bool) -> &'static str {
        if https { "__Host-clv" } else { "clv" }
    }

    fn of(request: &Request) -> Self {
        let is_denied = request.header("sec-gpc") == Some("1");
        let given = request
            .headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == Self::name(request.https))
            .find_map(|(_, value)| <[u8; 16]>::try_from(BASE64.decode(value).ok()?).ok());
        match given {
            Some(value) if !is_denied => Self {
                value,
                is_new: false,
                is_denied,
            },
            _ => Self {
                value: random(),
                is_new: true,
                is_denied,
            },
        }
    }

    fn set_on(&self, response: Response, https: bool) -> Response {
        if !self.is_new || self.is_denied {
            return response;
        }
        let name = Self::name(https);
        let value = BASE64.encode(self.value);
        let secure = if https { "; Secure" } else { "" };
        response.with(
            header::SET_COOKIE,
            &format!(
                "{name}={value}; Path=/; Max-Age={YEAR_SECONDS}; HttpOnly; SameSite=Lax{secure}"
            ),
        )
    }
}
