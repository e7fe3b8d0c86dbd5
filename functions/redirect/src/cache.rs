//! Links with their programs and affiliates: fresh for a while, stale for as long as it takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shared::app::App;
use shared::click::LinkId;
use shared::setup::{Affiliate, Link, Program, Slug};
use shared::store::StoreError;

/// Younger ones are not asked for again; changes are in force within 60 s.
const FRESH: Duration = Duration::from_secs(30);
/// The longest that a visitor waits for a link to be read.
const READ: Duration = Duration::from_millis(150);
/// More are not kept: an instance that has seen so many starts over.
const LINKS_MOST: usize = 100_000;

/// All that a redirect needs of the set-up.
#[derive(Debug)]
pub struct Known {
    pub link: Link,
    pub program: Program,
    pub affiliate: Affiliate,
}

#[derive(Debug, Default)]
pub struct Cache {
    links: Mutex<HashMap<String, (Arc<Known>, Instant)>>,
}

impl Cache {
    /// The link of a slug; a stale one while the table does not answer.
    pub async fn link(&self, app: &App, slug: &Slug) -> Result<Option<Arc<Known>>, StoreError> {
        let cached = self.lock().get(slug.as_str()).cloned();
        let is_fresh = |read: &Instant| !app.is_one_machine && read.elapsed() < FRESH;
        if let Some((known, read)) = &cached
            && is_fresh(read)
        {
            return Ok(Some(Arc::clone(known)));
        }
        let read = tokio::time::timeout(READ, read(app, slug)).await;
        match (read, cached) {
            (Ok(Ok(Some(known))), _) => {
                let known = Arc::new(known);
                let mut links = self.lock();
                if links.len() >= LINKS_MOST {
                    links.clear();
                }
                links.insert(slug.to_string(), (Arc::clone(&known), Instant::now()));
                Ok(Some(known))
            }
            (Ok(Ok(None)), _) => Ok(None),
            (Ok(Err(_)) | Err(_), Some((stale, _))) => Ok(Some(stale)),
            (Ok(Err(error)), None) => Err(error),
            (Err(_), None) => Err(StoreError::Unavailable("no link within 150 ms".to_owned())),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Arc<Known>, Instant)>> {
        self.links.lock().expect("nobody panics while holding it")
    }
}

async fn read(app: &App, slug: &Slug) -> Result<Option<Known>, StoreError> {
    let id = LinkId::of(slug.as_str()).to_string();
    let Some(link) = app.store.record::<Link>(&id).await? else {
        return Ok(None);
    };
    let link = link.record;
    let (program, affiliate) = futures_util::try_join!(
        app.store.record::<Program>(link.program.as_str()),
        app.store.record::<Affiliate>(link.affiliate.as_str()),
    )?;
    Ok(match (program, affiliate) {
        (Some(program), Some(affiliate)) => Some(Known {
            link,
            program: program.record,
            affiliate: affiliate.record,
        }),
        _ => None,
    })
}
