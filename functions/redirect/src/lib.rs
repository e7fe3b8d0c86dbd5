//! The redirect function: a visitor follows a link, and is on the way within 300 ms; or sees it.

mod cache;
mod location;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, Method, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use shared::app::{App, random};
use shared::click::{Click, Clicking, LinkId, Visitor};
use shared::http_types::{Problem, Request, Response};
use shared::setup::{
    AffiliateStatus, Destination, Enrolment, Link, Program, ProgramStatus, Slug, VisitorCookie,
};
use shared::store::{ClickRecord, StoreError};
use shared::traffic::{self, Class};
use shared::visitor::Cookie;
use tokio::time::Instant;

pub use cache::Pace;
use cache::{Cache, Known};
use location::{Location, Parameters};

/// How long a click's record outlives its window.
const MARGIN_DAYS: i64 = 7;
/// The longest that a visitor waits for the table, whatever it was asked; the rest of 300 ms is for
/// all else.
const WAIT: Duration = Duration::from_millis(250);

/// How long the table's first answer is waited for before the first visitor.
const WARMING: Duration = Duration::from_secs(1);

/// What all clicks of one instance share.
#[derive(Debug)]
pub struct Redirect {
    app: App,
    cache: Cache,
    lost_clicks: AtomicU64,
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
        Self {
            app,
            cache,
            lost_clicks: AtomicU64::new(0),
        }
    }

    /// Has the table asked for a link that there is none of, so that names are looked up and
    /// connections stand before the first visitor comes, who waits 150 ms for a link. Whatever comes of
    /// it, the function starts: the table may be back by then.
    pub async fn warm(&self) {
        let none = LinkId::of("").to_string();
        let read = self.app.store.record::<Link>(&none);
        drop(tokio::time::timeout(WARMING, read).await);
    }

    /// How many clicks and views it could not record.
    #[must_use]
    pub fn lost_clicks(&self) -> u64 {
        self.lost_clicks.load(Ordering::Relaxed)
    }

    /// The id itself carries the claim, so the visitor goes on; a statistic misses one. On AWS a
    /// metric adds `lost_clicks` up.
    fn lose(&self, link: &Link, error: &StoreError) {
        self.lost_clicks.fetch_add(1, Ordering::Relaxed);
        let slug = link.slug.as_str();
        tracing::warn!(link.slug = slug, lost_clicks = 1, error = %error, "could not record a click of `{slug}`");
    }
}

/// Answers one request.
pub async fn handle(state: &Redirect, request: Request) -> Response {
    answer(state, &request).await.into()
}

/// What a tracked address is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `/r/{slug}`: to be sent on.
    Visit,
    /// `/i/{slug}.gif`: a picture of one pixel.
    View,
}

impl Wanted {
    fn of(path: &str) -> Option<(Self, Slug)> {
        let (wanted, slug) = match path.strip_prefix("/r/") {
            Some(slug) => (Self::Visit, slug),
            None => (Self::View, path.strip_prefix("/i/")?.strip_suffix(".gif")?),
        };
        Some((wanted, Slug::parse(slug).ok()?))
    }
}

async fn answer(state: &Redirect, request: &Request) -> Result<Response, Problem> {
    let (wanted, slug) = Wanted::of(&request.path).ok_or_else(Problem::not_found)?;
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
        // The page that shows it is not ours to break.
        Err(_) if wanted == Wanted::View => return Ok(pixel()),
        Err(_) => {
            return match &state.app.fallback_url {
                Some(fallback) => Ok(sent_on(fallback)),
                None => Err(Problem::unavailable()),
            };
        }
    };
    match wanted {
        Wanted::Visit => visit(state, request, &known, deadline).await,
        Wanted::View => Ok(view(state, request, &known, deadline).await),
    }
}

async fn visit(
    state: &Redirect,
    request: &Request,
    known: &Known,
    deadline: Instant,
) -> Result<Response, Problem> {
    let (link, program) = (&known.link, &known.program);
    let parameters = Parameters::of(&request.query);
    let objection = traffic::objection(&request.headers);
    let is_open = is_active(known, &parameters, request.now);
    let is_full = is_open
        && request.method == Method::GET
        && objection.is_none_or(|reason| reason.class() != Class::Invalid)
        && !(link.test || parameters.is_test())
        && !has_room(state, link, request.now, deadline).await;
    let is_active = is_open && !is_full;
    let destination = if is_active {
        destination_for(known, request)
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
    let cookie = cookie(request, program, &parameters);
    let views_count = !program.view_window.is_zero();
    if request.method == Method::HEAD {
        let answer = sent_on(&location.with(None));
        return Ok(cookie.set_on(answer, request.https, views_count));
    }

    let seen = Seen {
        known,
        parameters: &parameters,
        cookie: &cookie,
        objection,
        is_view: false,
        is_active,
        is_full,
    };
    let click = seen.mint(state, request);
    let target = location.with(Some(click.id().as_str()));
    let landing = location::host_of(&target);
    seen.record(state, request, &click, landing, deadline).await;
    Ok(cookie.set_on(sent_on(&target), request.https, views_count))
}

/// A view has no id that anybody could claim by: it counts within its visitor's journey only.
async fn view(state: &Redirect, request: &Request, known: &Known, deadline: Instant) -> Response {
    let parameters = Parameters::of(&request.query);
    let cookie = cookie(request, &known.program, &parameters);
    if request.method == Method::GET {
        let seen = Seen {
            known,
            parameters: &parameters,
            cookie: &cookie,
            objection: traffic::objection_to_view(&request.headers),
            is_view: true,
            is_active: is_active(known, &parameters, request.now),
            is_full: false,
        };
        let view = seen.mint(state, request);
        seen.record(state, request, &view, String::new(), deadline)
            .await;
    }
    let views_count = !known.program.view_window.is_zero();
    cookie.set_on(pixel(), request.https, views_count)
}

/// The first route of the link that takes the visitor, else the link's or the program's own address.
fn destination_for<'a>(known: &'a Known, request: &Request) -> &'a Destination {
    let link = &known.link;
    let device = traffic::Device::of(&request.headers);
    let language = traffic::language(&request.headers);
    let mut routes = link.routes.iter();
    let route =
        routes.find(|route| route.takes(request.country.as_deref(), device, language.as_deref()));
    route
        .map(|route| &route.destination)
        .or(link.destination.as_ref())
        .unwrap_or(&known.program.destination)
}

fn is_active(known: &Known, parameters: &Parameters<'_>, now: Timestamp) -> bool {
    known.affiliate.status == AffiliateStatus::Active
        && !known.enrolment.as_ref().is_some_and(Enrolment::is_over)
        && known.link.dates.hold(now)
        && match known.program.status {
            ProgramStatus::Active => known.program.is_active_at(now),
            ProgramStatus::Draft => known.link.test || parameters.is_test(),
            ProgramStatus::Paused | ProgramStatus::Ended => false,
        }
}

/// Whether a link takes one more click, which is then counted. While the table fails it does: a
/// visitor is worth more than an exact count.
async fn has_room(state: &Redirect, link: &Link, now: Timestamp, deadline: Instant) -> bool {
    let Some(cap) = link.click_cap else {
        return true;
    };
    let id = LinkId::of(link.slug.as_str());
    let counting = state.app.store.count_click(id, cap, now);
    match tokio::time::timeout_at(deadline, counting).await {
        Ok(Ok(has_room)) => has_room,
        Ok(Err(_)) | Err(_) => {
            let slug = link.slug.as_str();
            tracing::warn!(
                link.slug = slug,
                "could not count a click of `{slug}` towards its bound"
            );
            true
        }
    }
}

/// None that lasts for whoever asks not to be followed (Global Privacy Control, or the consent that
/// the link hands on), and where the program wants none.
fn cookie(request: &Request, program: &Program, parameters: &Parameters<'_>) -> Cookie {
    let is_denied = request.header("sec-gpc") == Some("1")
        || parameters.is_consent_denied()
        || program.visitor_cookie == VisitorCookie::Off;
    Cookie::of(&request.headers, request.https, is_denied, random())
}

/// A click or view, before it has an id.
struct Seen<'a> {
    known: &'a Known,
    parameters: &'a Parameters<'a>,
    cookie: &'a Cookie,
    objection: Option<traffic::Reason>,
    is_view: bool,
    is_active: bool,
    /// Whether its link had taken as many clicks as it may.
    is_full: bool,
}

impl Seen<'_> {
    fn mint(&self, state: &Redirect, request: &Request) -> Click {
        let (link, program) = (&self.known.link, &self.known.program);
        let keys = state.app.keys();
        let clicking = Clicking {
            link: LinkId::of(link.slug.as_str()),
            visitor: Visitor::of(&self.cookie.value, &program.id, &keys),
            now: request.now,
            random: random(),
            class: self.objection.map_or(Class::Human, traffic::Reason::class),
            is_view: self.is_view,
            is_test: link.test || self.parameters.is_test(),
            is_consent_denied: self.cookie.is_denied,
            is_program_paused: !self.is_active,
        };
        Click::mint(&clicking, &keys)
    }

    async fn record(
        &self,
        state: &Redirect,
        request: &Request,
        click: &Click,
        landing: String,
        deadline: Instant,
    ) {
        let (link, program) = (&self.known.link, &self.known.program);
        let record = ClickRecord {
            program: program.id.clone(),
            affiliate: link.affiliate.clone(),
            slug: link.slug.to_string(),
            reason: self
                .objection
                .map(traffic::Reason::as_str)
                .or(self.is_full.then_some("click_cap"))
                .map(str::to_owned),
            tags: self.parameters.tags(),
            country: request.country.clone(),
            device: traffic::Device::of(&request.headers).as_str().to_owned(),
            browser: traffic::browser(&request.headers).to_owned(),
            language: traffic::language(&request.headers),
            landing,
        };
        let window = if self.is_view {
            program.view_window
        } else {
            program.click_window
        };
        let kept_for = SignedDuration::from_secs(i64::from(window.seconds()))
            + SignedDuration::from_hours(24 * MARGIN_DAYS);
        let expires_at = request.now.checked_add(kept_for).unwrap_or(request.now);
        let recording = state.app.store.record_click(click, &record, expires_at);
        let recorded = tokio::time::timeout_at(deadline, recording)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("250 ms were over".to_owned())));
        if let Err(error) = recorded {
            state.lose(link, &error);
        }
    }
}

/// A transparent picture of one pixel, which nobody keeps.
fn pixel() -> Response {
    // GIF89a: a screen of 1 x 1, two colours, the first of them transparent.
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    Response::bytes(StatusCode::OK, "image/gif", GIF)
        .with(HeaderName::from_static("x-robots-tag"), "noindex")
}

fn sent_on(target: &str) -> Response {
    Response::redirect(target).with(HeaderName::from_static("x-robots-tag"), "noindex")
}
