//! Programs as they were at an instant: a version never changes, so each is read and parsed once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::records::{current, head, read, version_key};
use super::{Store, StoreError, Versioned};
use crate::ids::ProgramId;
use crate::setup::Program;

/// What a warm function knows by heart; one that has seen so many versions starts over.
const VERSIONS_MOST: usize = 1_000;

/// By program and number.
type Versions = HashMap<(ProgramId, u64), Arc<Program>>;

/// Clones share what they know.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownPrograms(Arc<Mutex<Versions>>);

impl KnownPrograms {
    fn get(&self, id: &ProgramId, version: u64) -> Option<Arc<Program>> {
        let known = self.0.lock().expect("nobody panics while holding it");
        known.get(&(id.clone(), version)).cloned()
    }

    fn keep(&self, id: &ProgramId, version: u64, program: &Arc<Program>) {
        let mut known = self.0.lock().expect("nobody panics while holding it");
        if known.len() >= VERSIONS_MOST {
            known.clear();
        }
        known.insert((id.clone(), version), Arc::clone(program));
    }
}

/// All of a version but its document, which may hold hundreds of rules.
const HEAD: &str = "ver, made_at, since";

impl Store {
    /// The version of a program that was in force at an instant; the first one for an instant
    /// before it. Which one that is, is asked of the table each time: a change is in force at once.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn program_at(
        &self,
        id: &ProgramId,
        at: Timestamp,
    ) -> Result<Option<Versioned<Arc<Program>>>, StoreError> {
        let key = current::<Program>(id.as_str());
        let Some(row) = self.read_parts(&key, HEAD).await? else {
            return Ok(None);
        };
        let mut found = head(&row)?;
        if at < found.since && found.version != 1 {
            let parts = Some(HEAD);
            let row = self.version_at::<Program>(id.as_str(), found.version, at, parts);
            found = head(&row.await?)?;
        }
        let program = self.program_of(id, found.version).await?;
        Ok(program.map(|program| found.with(program)))
    }

    async fn program_of(
        &self,
        id: &ProgramId,
        version: u64,
    ) -> Result<Option<Arc<Program>>, StoreError> {
        if let Some(known) = self.programs.get(id, version) {
            return Ok(Some(known));
        }
        let key = version_key::<Program>(id.as_str(), version);
        let Some(row) = self.read(&key).await? else {
            return Ok(None);
        };
        let program = Arc::new(read::<Program>(&row)?.record);
        self.programs.keep(id, version, &program);
        Ok(Some(program))
    }
}
