//! Links with their programs, affiliates and enrolments: fresh for a while, stale for as long as it takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use shared::app::App;
use shared::click::LinkId;
use shared::setup::{Affiliate, Enrolment, Link, Program, Slug};
use shared::store::StoreError;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The longest that a visitor waits for a link to be read.
const READ: Duration = Duration::from_millis(150);
/// The longest that a reading beside the visitors may take.
const REFRESH: Duration = Duration::from_secs(5);
/// How many links are read beside the visitors at the same time.
const REFRESHES_MOST: usize = 16;
/// More are not kept: an instance that has seen so many starts over.
const LINKS_MOST: usize = 100_000;

/// How old a link may get.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// A younger one is answered as it is; an older one too, and read again beside it.
    pub fresh: Duration,
    /// One older than this is read first, and answered as it was only if that fails or takes too
    /// long; then it is read on beside the answer.
    pub stale: Duration,
}

impl Pace {
    /// A change is in force within 60 s, also where nobody asked for the link in between.
    pub const USUAL: Self = Self {
        fresh: Duration::from_secs(30),
        stale: Duration::from_secs(55),
    };
    /// Every visitor's link is read.
    const NONE: Self = Self {
        fresh: Duration::ZERO,
        stale: Duration::ZERO,
    };
}

/// All that a redirect needs of the set-up.
#[derive(Debug)]
pub struct Known {
    pub link: Link,
    pub program: Program,
    pub affiliate: Affiliate,
    /// The affiliate's place in the program.
    pub enrolment: Option<Enrolment>,
}

/// Cheap to clone; clones share what they know.
#[derive(Debug, Clone)]
pub struct Cache {
    pace: Pace,
    links: Arc<Mutex<HashMap<String, Cached>>>,
    refreshes: Arc<Semaphore>,
}

#[derive(Debug)]
struct Cached {
    known: Arc<Known>,
    read_at: Instant,
    is_being_read: bool,
}

impl Cache {
    /// An empty one. On one machine a change is in force at once, so nothing is trusted there.
    pub fn new(app: &App, pace: Pace) -> Self {
        Self {
            pace: if app.is_one_machine { Pace::NONE } else { pace },
            links: Arc::default(),
            refreshes: Arc::new(Semaphore::new(REFRESHES_MOST)),
        }
    }

    /// The link of a slug; a stale one while the table does not answer.
    pub async fn link(&self, app: &App, slug: &Slug) -> Result<Option<Arc<Known>>, StoreError> {
        let cached = self.cached(slug);
        if let Some((known, age)) = &cached
            && *age < self.pace.stale
        {
            if self.pace.fresh <= *age {
                self.refresh(app, slug);
            }
            return Ok(Some(Arc::clone(known)));
        }
        let read = tokio::time::timeout(READ, read(app, slug)).await;
        match (read, cached) {
            (Ok(Ok(Some(known))), _) => Ok(Some(self.keep(slug, known))),
            (Ok(Ok(None)), _) => Ok(None),
            (Ok(Err(_)) | Err(_), Some((stale, _))) => {
                // This visitor waits no longer, but the next one is to be led by what is in force.
                self.refresh(app, slug);
                Ok(Some(stale))
            }
            (Ok(Err(error)), None) => Err(error),
            (Err(_), None) => Err(StoreError::Unavailable("no link within 150 ms".to_owned())),
        }
    }

    fn cached(&self, slug: &Slug) -> Option<(Arc<Known>, Duration)> {
        let links = self.lock();
        let cached = links.get(slug.as_str())?;
        Some((Arc::clone(&cached.known), cached.read_at.elapsed()))
    }

    /// Reads a link in a task of its own, unless one does already. Lambda stands still between
    /// events: what is not read by the time of the answer goes on with the next event.
    fn refresh(&self, app: &App, slug: &Slug) {
        let Ok(turn) = Arc::clone(&self.refreshes).try_acquire_owned() else {
            return;
        };
        match self.lock().get_mut(slug.as_str()) {
            Some(cached) if !cached.is_being_read => cached.is_being_read = true,
            _ => return,
        }
        let (cache, app, slug) = (self.clone(), app.clone(), slug.clone());
        tokio::spawn(async move {
            let _turn = turn;
            match tokio::time::timeout(REFRESH, read(&app, &slug)).await {
                Ok(Ok(Some(known))) => drop(cache.keep(&slug, known)),
                Ok(Ok(None)) => drop(cache.lock().remove(slug.as_str())),
                Ok(Err(_)) | Err(_) => {
                    if let Some(cached) = cache.lock().get_mut(slug.as_str()) {
                        cached.is_being_read = false;
                    }
                }
            }
        });
    }

    fn keep(&self, slug: &Slug, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        let mut links = self.lock();
        if links.len() >= LINKS_MOST {
            links.clear();
        }
        let cached = Cached {
            known: Arc::clone(&known),
            read_at: Instant::now(),
            is_being_read: false,
        };
        links.insert(slug.to_string(), cached);
        known
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Cached>> {
        self.links.lock().expect("nobody panics while holding it")
    }
}

async fn read(app: &App, slug: &Slug) -> Result<Option<Known>, StoreError> {
    let id = LinkId::of(slug.as_str()).to_string();
    let Some(link) = app.store.record::<Link>(&id).await? else {
        return Ok(None);
    };
    let link = link.record;
    let enrolment = Enrolment::key(&link.program, &link.affiliate);
    let (program, affiliate, enrolment) = futures_util::try_join!(
        app.store.record::<Program>(link.program.as_str()),
        app.store.record::<Affiliate>(link.affiliate.as_str()),
        app.store.record::<Enrolment>(&enrolment),
    )?;
    Ok(match (program, affiliate) {
        (Some(program), Some(affiliate)) => Some(Known {
            link,
            program: program.record,
            affiliate: affiliate.record,
            enrolment: enrolment.map(|enrolment| enrolment.record),
        }),
        _ => None,
    })
}
