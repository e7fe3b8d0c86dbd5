//! What is different about each resource: whose it is, what must hold, what hangs on it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::claim::Claim;
use shared::http_types::{Page, Problem};
use shared::ids::{AffiliateId, MerchantId, PayerId, ProgramId};
use shared::rights::{Action, Caller};
use shared::setup::{
    Affiliate, Coupon, Enrolment, EnrolmentStatus, Join, Link, Merchant, Payer, Program,
    ProgramStatus, Record,
};
use shared::store::{Audit, Created, Replaced, Versioned};

use crate::secrets;

/// How often an enrolment is asked again because it changed meanwhile.
const RACES_MOST: u32 = 8;

/// Whose a record is, as far as rights go.
#[derive(Debug, Default)]
pub struct Owners {
    pub merchant: Option<MerchantId>,
    pub affiliate: Option<AffiliateId>,
}

/// A record that the API serves.
pub trait Resource: Record {
    const READ: Action;
    const CREATE: Action;
    const CHANGE: Action;
    /// Members that are made up where the sender leaves them out.
    const GENERATED: &'static [&'static str] = &["id"];
    const LISTED_BY_AFFILIATE: bool = false;
    /// One that exists from the start.
    const FROM_THE_START: Option<&'static str> = None;

    async fn owners(
        &self,
        app: &App,
        caller: &Caller,
        programs: &Programs,
    ) -> Result<Owners, Problem>;

    /// By what the API calls it.
    async fn find(app: &App, id: &str) -> Result<Option<Versioned<Self>>, Problem> {
        let found = app.store.record::<Self>(id).await.map_err(unavailable)?;
        match found {
            Some(found) => Ok(Some(found)),
            None => app.store.record_called(id).await.map_err(unavailable),
        }
    }

    /// What must hold beyond its own members, before it is made (`before` is none) or changed.
    async fn check(
        &self,
        _app: &App,
        _caller: &Caller,
        _before: Option<&Self>,
        _reason: Option<&str>,
    ) -> Result<(), Problem> {
        Ok(())
    }

    /// What its sender leaves out and who it is says, before it is read.
    async fn filled(_body: &mut Value, _app: &App, _caller: &Caller) -> Result<(), Problem> {
        Ok(())
    }

    /// What a new one says of the world it is made in, where its sender leaves that out.
    async fn completed(self, _app: &App) -> Result<Self, Problem> {
        Ok(self)
    }

    /// Whether what is asked for is what was made first.
    fn repeats(&self, first: &Self) -> bool {
        self.to_json() == first.to_json()
    }

    /// What is made with it; what it answers is shown once, beside the record.
    async fn made(&self, app: &App, now: Timestamp, caller: &Caller) -> Result<Value, Problem> {
        self.made_again(app, now, now, caller).await?;
        Ok(Value::Null)
    }

    /// What is made with it and may be missing after a lost first try, at `made_at`; never a secret.
    async fn made_again(
        &self,
        _app: &App,
        _made_at: Timestamp,
        _now: Timestamp,
        _caller: &Caller,
    ) -> Result<(), Problem> {
        Ok(())
    }

    /// Whether whoever may change it may change what the patch names.
    fn may_change(&self, _caller: &Caller, _patch: &Value) -> Result<(), Problem> {
        Ok(())
    }

    /// What a change brings with it: made before the change is in force.
    async fn changing(
        &self,
        _app: &App,
        _before: &Self,
        _now: Timestamp,
        _caller: &Caller,
    ) -> Result<(), Problem> {
        Ok(())
    }

    async fn shown(&self, _app: &App, _caller: &Caller) -> Result<Value, Problem> {
        Ok(self.to_json())
    }
}

async fn required<R: Record>(
    app: &App,
    id: &str,
    code: &'static str,
    field: &str,
) -> Result<R, Problem> {
    let found = app.store.record::<R>(id).await.map_err(unavailable)?;
    found
        .map(|found| found.record)
        .ok_or_else(|| Problem::invalid(code, field))
}

/// The program, where it and the affiliate exist.
async fn pair(app: &App, program: &ProgramId, affiliate: &AffiliateId) -> Result<Program, Problem> {
    let found = required(app, program.as_str(), "program_unknown", "program").await?;
    required::<Affiliate>(app, affiliate.as_str(), "affiliate_unknown", "affiliate").await?;
    Ok(found)
}

async fn enrolment(
    app: &App,
    program: &ProgramId,
    affiliate: &AffiliateId,
) -> Result<Option<Enrolment>, Problem> {
    let key = Enrolment::key(program, affiliate);
    let found = app.store.record::<Enrolment>(&key).await;
    Ok(found.map_err(unavailable)?.map(|found| found.record))
}

/// The group by whose rules an affiliate earns in a program: its enrolment's, else its own.
pub async fn group_of(
    app: &App,
    program: &Program,
    affiliate: &AffiliateId,
) -> Result<Option<String>, Problem> {
    let enrolment = enrolment(app, &program.id, affiliate).await?;
    if let Some(group) = enrolment.and_then(|enrolment| enrolment.group) {
        return Ok(Some(group));
    }
    let id = affiliate.as_str();
    let found = required::<Affiliate>(app, id, "affiliate_unknown", "affiliate").await?;
    Ok(found.group)
}

/// What an affiliate's coupons of all programs are stored under.
async fn coupons_of(app: &App, affiliate: &AffiliateId) -> Result<HashSet<String>, Problem> {
    let owner = Some(affiliate.as_str());
    let found = app.store.all_records::<Coupon>(owner).await;
    let found = found.map_err(unavailable)?.into_iter();
    Ok(found.map(|coupon| coupon.record.id()).collect())
}

/// The version of a program's terms that is in force.
async fn terms_version(app: &App, program: &ProgramId) -> Result<u64, Problem> {
    let found = app.store.record::<Program>(program.as_str()).await;
    let found = found.map_err(unavailable)?;
    found
        .map(|found| found.version)
        .ok_or_else(|| Problem::invalid("program_unknown", "program"))
}

/// Lets an affiliate in by what it was given at `given_at`: one that was never in on the program's own
/// terms, one that asks, was turned down or has left on those that it had. Who was turned down or left
/// after that instant stays out, so that an old request that comes again lets nobody back in.
async fn enrol(
    app: &App,
    program: &ProgramId,
    affiliate: &AffiliateId,
    given_at: Timestamp,
    now: Timestamp,
    caller: &Caller,
) -> Result<(), Problem> {
    for _ in 0..RACES_MOST {
        let version = terms_version(app, program).await?;
        let enrolment = Enrolment::plain(program.clone(), affiliate.clone(), version);
        let audit = Audit::by(caller, "create enrolment", None);
        let made = app.store.create(&enrolment, now, &audit).await;
        let standing = match made.map_err(unavailable)? {
            Created::New(_) => return Ok(()),
            Created::Exists(standing) => standing,
        };
        let is_active = standing.record.status == EnrolmentStatus::Active;
        if is_active || standing.record.is_over() && given_at < standing.since {
            return Ok(());
        }
        let active = Enrolment {
            status: EnrolmentStatus::Active,
            terms_version: Some(version),
            ..standing.record.clone()
        };
        let audit = Audit::by(caller, "change enrolment", None);
        let replaced = app.store.replace(&standing, &active, now, &audit).await;
        match replaced.map_err(unavailable)? {
            Replaced::Done(_) => return Ok(()),
            Replaced::Moved => {}
        }
    }
    Err(Problem::unavailable())
}

/// Whose programs are, each asked once in a request: a program never changes hands, and a list may
/// hold thousands of one program's records.
#[derive(Debug, Default)]
pub struct Programs {
    merchants: Mutex<HashMap<ProgramId, Option<MerchantId>>>,
}

impl Programs {
    async fn merchant_of(
        &self,
        app: &App,
        program: &ProgramId,
    ) -> Result<Option<MerchantId>, Problem> {
        let known = self.known().get(program).cloned();
        if let Some(merchant) = known {
            return Ok(merchant);
        }
        let found = app.store.record::<Program>(program.as_str()).await;
        let merchant = found
            .map_err(unavailable)?
            .map(|found| found.record.merchant);
        self.known().insert(program.clone(), merchant.clone());
        Ok(merchant)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ProgramId, Option<MerchantId>>> {
        self.merchants
            .lock()
            .expect("nobody panics while holding it")
    }
}

impl Resource for Payer {
    const READ: Action = Action::ReadPayers;
    const CREATE: Action = Action::WritePayers;
    const CHANGE: Action = Action::WritePayers;
    const FROM_THE_START: Option<&'static str> = Some("house");

    async fn owners(&self, _: &App, _: &Caller, _: &Programs) -> Result<Owners, Problem> {
        Ok(Owners::default())
    }

    /// `house` exists from the start, whether anybody has touched it or not.
    async fn find(app: &App, id: &str) -> Result<Option<Versioned<Self>>, Problem> {
        let found = app.store.record::<Self>(id).await.map_err(unavailable)?;
        if found.is_some() || id != PayerId::house().as_str() {
            return Ok(found);
        }
        let start = shared::store::Audit {
            key: "start".to_owned(),
            person: "operator".to_owned(),
            what: "create payer".to_owned(),
            reason: None,
        };
        let made = app
            .store
            .create(&Payer::house(), Timestamp::UNIX_EPOCH, &start)
            .await
            .map_err(unavailable)?;
        Ok(Some(match made {
            Created::New(house) | Created::Exists(house) => house,
        }))
    }
}

impl Resource for Merchant {
    const READ: Action = Action::ReadMerchants;
    const CREATE: Action = Action::WriteMerchants;
    const CHANGE: Action = Action::WriteMerchants;

    async fn owners(&self, _: &App, _: &Caller, _: &Programs) -> Result<Owners, Problem> {
        Ok(Owners {
            merchant: Some(self.id.clone()),
            affiliate: None,
        })
    }

    async fn check(
        &self,
        app: &App,
        _: &Caller,
        before: Option<&Self>,
        _: Option<&str>,
    ) -> Result<(), Problem> {
        // Its signed posts would come to the paths of everybody.
        if before.is_none() && ["batch", "reversal"].contains(&self.id.as_str()) {
            return Err(Problem::invalid("id_invalid", "id"));
        }
        match Payer::find(app, self.payer.as_str()).await? {
            Some(_) => Ok(()),
            None => Err(Problem::invalid("payer_unknown", "payer")),
        }
    }

    async fn made(&self, app: &App, now: Timestamp, caller: &Caller) -> Result<Value, Problem> {
        self.made_again(app, now, now, caller).await?;
        let secret = secrets::first(app, &self.id, now, caller).await?;
        Ok(json!({ "secret": secret }))
    }

    /// The books open with the first merchant, unless an adjustment was booked before it.
    async fn made_again(
        &self,
        app: &App,
        _: Timestamp,
        now: Timestamp,
        _: &Caller,
    ) -> Result<(), Problem> {
        let day = shared::period::day_of(now);
        app.store.open_books(day).await.map_err(unavailable)
    }
}

impl Resource for Program {
    const READ: Action = Action::ReadPrograms;
    const CREATE: Action = Action::WritePrograms;
    const CHANGE: Action = Action::WritePrograms;

    async fn owners(&self, app: &App, caller: &Caller, _: &Programs) -> Result<Owners, Problem> {
        let affiliate = match caller.affiliate() {
            Some(affiliate) => enrolment(app, &self.id, affiliate)
                .await?
                .filter(|enrolment| enrolment.status == EnrolmentStatus::Active)
                .map(|enrolment| enrolment.affiliate),
            None => None,
        };
        Ok(Owners {
            merchant: Some(self.merchant.clone()),
            affiliate,
        })
    }

    async fn check(
        &self,
        app: &App,
        _: &Caller,
        before: Option<&Self>,
        reason: Option<&str>,
    ) -> Result<(), Problem> {
        required::<Merchant>(app, self.merchant.as_str(), "merchant_unknown", "merchant").await?;
        if self.is_loopback() && !app.is_one_machine {
            return Err(Problem::invalid("address_invalid", "destination"));
        }
        let as_before = before.is_some_and(|before| {
            before.commission == self.commission && before.goals == self.goals
        });
        // What was saved before this was asked may be paused all the same.
        if !as_before {
            self.rules_are_within_reach()?;
        }
        // By way of `paused` too: what was active once may pause and go on as it likes.
        let is_launch = self.status == ProgramStatus::Active
            && before.is_none_or(|before| before.status != ProgramStatus::Active);
        let versions = if is_launch && before.is_some() {
            let versions = app.store.versions::<Self>(self.id.as_str()).await;
            versions.map_err(unavailable)?
        } else {
            Vec::new()
        };
        let was_active = versions
            .iter()
            .any(|version| version.record.status == ProgramStatus::Active);
        let launches = is_launch && !was_active;
        if launches && reason.is_none() {
            let tested = app.store.has_test_conversion(self.id.as_str()).await;
            if !tested.map_err(unavailable)? {
                return Err(Problem::invalid("test_conversion_missing", "status"));
            }
        }
        Ok(())
    }

    /// An affiliate sees its own terms: not what others earn, by their name, group or coupon, nor what
    /// the merchant aims at. Hosts that nobody listed are shown and not kept: a `PATCH` of the
    /// destination moves them.
    async fn shown(&self, app: &App, caller: &Caller) -> Result<Value, Problem> {
        let mut json = self.to_json();
        json["allowed_hosts"] = json!(self.allowed_hosts);
        let Some(own) = caller.affiliate() else {
            return Ok(json);
        };
        if let Some(rules) = json["commission"].as_array_mut() {
            let asks = |rules: &[Value], of: &str| {
                let mut rules = rules.iter();
                rules.any(|rule| rule["when"].get(of).is_some())
            };
            let group = match asks(rules, "group") {
                true => group_of(app, self, own).await?,
                false => None,
            };
            let coupons = match asks(rules, "coupon") {
                true => coupons_of(app, own).await?,
                false => HashSet::new(),
            };
            rules.retain(|rule| {
                let when = |of: &str| rule["when"][of].as_str();
                let is_own = |code| coupons.contains(&Coupon::key(&self.id, code));
                when("affiliate").is_none_or(|named| named == own.as_str())
                    && when("group").is_none_or(|named| group.as_deref() == Some(named))
                    && when("coupon").is_none_or(is_own)
            });
        }
        for goal in json["goals"].as_array_mut().into_iter().flatten() {
            if let Some(goal) = goal.as_object_mut() {
                goal.remove("target_cpa");
            }
        }
        Ok(json)
    }
}

impl Resource for Affiliate {
    const READ: Action = Action::ReadAffiliates;
    const CREATE: Action = Action::CreateAffiliates;
    const CHANGE: Action = Action::ChangeAffiliates;

    /// An affiliate its name, e-mail, country and payout details.
    fn may_change(&self, caller: &Caller, patch: &Value) -> Result<(), Problem> {
        let own = ["name", "email", "country", "payout"];
        let mut members = patch.as_object().into_iter().flatten();
        if caller.affiliate().is_some() && members.any(|(name, _)| !own.contains(&name.as_str())) {
            return Err(Problem::forbidden("forbidden"));
        }
        Ok(())
    }

    async fn owners(
        &self,
        app: &App,
        caller: &Caller,
        programs: &Programs,
    ) -> Result<Owners, Problem> {
        let mut merchant = None;
        if let Some(own) = caller.merchant() {
            let mut page = Page {
                limit: 200,
                after: None,
            };
            'all: loop {
                let (enrolments, next) = app
                    .store
                    .records::<Enrolment>(Some(self.id.as_str()), &page)
                    .await
                    .map_err(unavailable)?;
                for enrolment in enrolments {
                    let program = &enrolment.record.program;
                    if programs.merchant_of(app, program).await?.as_ref() == Some(own) {
                        merchant = Some(own.clone());
                        break 'all;
                    }
                }
                match next {
                    Some(cursor) => page.after = Some(cursor),
                    None => break,
                }
            }
        }
        Ok(Owners {
            merchant,
            affiliate: Some(self.id.clone()),
        })
    }

    /// Lines stand in the lanes that there were when they were booked: with fewer, balances would
    /// pass over some.
    async fn check(
        &self,
        _: &App,
        _: &Caller,
        before: Option<&Self>,
        _: Option<&str>,
    ) -> Result<(), Problem> {
        match before {
            Some(before) if self.lanes < before.lanes => {
                Err(Problem::invalid("lanes_lowered", "lanes"))
            }
            _ => Ok(()),
        }
    }

    async fn shown(&self, _: &App, caller: &Caller) -> Result<Value, Problem> {
        Ok(match caller.merchant() {
            Some(_) => self.seen_by_merchant(),
            None => self.to_json(),
        })
    }
}

impl Resource for Enrolment {
    const READ: Action = Action::ReadEnrolments;
    const CREATE: Action = Action::CreateEnrolments;
    const CHANGE: Action = Action::ChangeEnrolments;
    const GENERATED: &'static [&'static str] = &[];
    const LISTED_BY_AFFILIATE: bool = true;

    async fn owners(&self, app: &App, _: &Caller, programs: &Programs) -> Result<Owners, Problem> {
        Ok(Owners {
            merchant: programs.merchant_of(app, &self.program).await?,
            affiliate: Some(self.affiliate.clone()),
        })
    }

    /// An affiliate that does not say how it comes in comes in as far as the program lets it; sent
    /// again, as it did then.
    async fn filled(body: &mut Value, app: &App, caller: &Caller) -> Result<(), Problem> {
        let status = &body["status"];
        if caller.affiliate().is_none() || !(status.is_null() || status == "") {
            return Ok(());
        }
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let ids = (
            ProgramId::parse(text("program")),
            AffiliateId::parse(text("affiliate")),
        );
        let (Ok(program), Ok(affiliate)) = ids else {
            return Ok(());
        };
        let key = Self::key(&program, &affiliate);
        let first = app.store.version::<Self>(&key, 1).await;
        let status = match first.map_err(unavailable)? {
            Some(first) => first.record.status,
            None => {
                let found = app.store.record::<Program>(program.as_str()).await;
                match found.map_err(unavailable)? {
                    Some(found) if found.record.join == Join::Open => EnrolmentStatus::Active,
                    _ => EnrolmentStatus::Pending,
                }
            }
        };
        body["status"] = json!(status.as_str());
        Ok(())
    }

    /// Without a word on it, on the terms that are in force.
    async fn completed(self, app: &App) -> Result<Self, Problem> {
        let terms_version = match self.terms_version {
            Some(version) => version,
            None => terms_version(app, &self.program).await?,
        };
        Ok(Self {
            terms_version: Some(terms_version),
            ..self
        })
    }

    fn repeats(&self, first: &Self) -> bool {
        let asked = Self {
            terms_version: self.terms_version.or(first.terms_version),
            ..self.clone()
        };
        asked == *first
    }

    async fn check(
        &self,
        app: &App,
        caller: &Caller,
        before: Option<&Self>,
        _: Option<&str>,
    ) -> Result<(), Problem> {
        let program = pair(app, &self.program, &self.affiliate).await?;
        let agreed = before.and_then(|before| before.terms_version);
        if let Some(version) = self.terms_version.filter(|_| self.terms_version != agreed) {
            let in_force = terms_version(app, &self.program).await?;
            // Who agrees has read what is in force now; others may note down what was agreed to.
            let is_known = if caller.affiliate().is_some() {
                version == in_force
            } else {
                (1..=in_force).contains(&version)
            };
            if !is_known {
                return Err(Problem::invalid("terms_version_unknown", "terms_version"));
            }
        }
        if let (Some(before), Some(_)) = (before, caller.affiliate()) {
            // Its own place it has already: what it may change is that it agrees to newer terms.
            let agreeing = Self {
                terms_version: self.terms_version,
                ..before.clone()
            };
            return if agreeing == *self {
                Ok(())
            } else {
                Err(Problem::forbidden("forbidden"))
            };
        }
        // An affiliate asks; it does not let itself in, nor on terms of its own.
        let is_open = program.join == Join::Open;
        let asks_only = self.group.is_none()
            && self.hold_days.is_none()
            && (is_open || self.status == EnrolmentStatus::Pending);
        if caller.affiliate().is_some() && !asks_only {
            return Err(Problem::forbidden("forbidden"));
        }
        Ok(())
    }
}

impl Resource for Link {
    const READ: Action = Action::ReadLinks;
    const CREATE: Action = Action::WriteLinks;
    const CHANGE: Action = Action::WriteLinks;
    const GENERATED: &'static [&'static str] = &["slug"];
    const LISTED_BY_AFFILIATE: bool = true;

    /// What bounds a link that somebody else made is not the affiliate's to lift.
    fn may_change(&self, caller: &Caller, patch: &Value) -> Result<(), Problem> {
        let standing = self.to_json();
        let is_bound = |name: &&str| patch.get(*name).is_some() && standing.get(*name).is_some();
        let mut bounds = ["click_cap", "starts_at", "ends_at"].iter();
        if caller.affiliate().is_some() && bounds.any(is_bound) {
            return Err(Problem::forbidden("forbidden"));
        }
        Ok(())
    }

    async fn owners(&self, app: &App, _: &Caller, programs: &Programs) -> Result<Owners, Problem> {
        Ok(Owners {
            merchant: programs.merchant_of(app, &self.program).await?,
            affiliate: Some(self.affiliate.clone()),
        })
    }

    /// By its id, else by its slug.
    async fn find(app: &App, id: &str) -> Result<Option<Versioned<Self>>, Problem> {
        let key = shared::click::LinkId::of(id).to_string();
        let found = app.store.record::<Self>(&key).await.map_err(unavailable)?;
        let by_slug = found.filter(|found| found.record.slug.as_str() == id);
        if by_slug
            .as_ref()
            .is_some_and(|found| found.record.public_id() == id)
        {
            return Ok(by_slug);
        }
        let called = app.store.record_called(id).await.map_err(unavailable)?;
        Ok(called.or(by_slug))
    }

    async fn check(
        &self,
        app: &App,
        caller: &Caller,
        before: Option<&Self>,
        _: Option<&str>,
    ) -> Result<(), Problem> {
        let is_loopback = self
            .destinations()
            .any(shared::setup::Destination::is_loopback);
        if is_loopback && !app.is_one_machine {
            return Err(Problem::invalid("address_invalid", "destination"));
        }
        let program = pair(app, &self.program, &self.affiliate).await?;
        if caller.affiliate().is_some() {
            let enrolment = enrolment(app, &self.program, &self.affiliate).await?;
            // A program that it never had to do with is to it like none.
            let enrolment =
                enrolment.ok_or_else(|| Problem::invalid("program_unknown", "program"))?;
            if enrolment.status != EnrolmentStatus::Active {
                return Err(Problem::invalid("not_enrolled", "program"));
            }
            // Whoever is paid for visitors does not choose whose site they arrive at.
            let is_elsewhere = self.destinations().any(|destination| {
                let hosts = &program.allowed_hosts;
                !hosts.iter().any(|host| host == destination.host())
            });
            if is_elsewhere {
                return Err(Problem::invalid("host_not_allowed", "destination"));
            }
        }
        // A link that was made before ids were kept apart from slugs holds its own by nothing else.
        if let (None, Some(name)) = (before, &self.name)
            && let Some(namesake) = Self::find(app, name.as_str()).await?
            && namesake.record.public_id() == name.as_str()
            && namesake.record.slug != self.slug
        {
            return Err(Problem::conflict("exists"));
        }
        Ok(())
    }

    /// A link made by a merchant or an admin enrols.
    async fn made_again(
        &self,
        app: &App,
        made_at: Timestamp,
        now: Timestamp,
        caller: &Caller,
    ) -> Result<(), Problem> {
        if caller.affiliate().is_some() {
            return Ok(());
        }
        let (program, affiliate) = (&self.program, &self.affiliate);
        enrol(app, program, affiliate, made_at, now, caller).await
    }

    async fn shown(&self, app: &App, _: &Caller) -> Result<Value, Problem> {
        let mut json = self.to_json();
        json["url"] = json!(format!("{}/r/{}", app.public_url, self.slug));
        Ok(json)
    }
}

impl Resource for Coupon {
    const READ: Action = Action::ReadCoupons;
    const CREATE: Action = Action::WriteCoupons;
    const CHANGE: Action = Action::WriteCoupons;
    const GENERATED: &'static [&'static str] = &[];
    const LISTED_BY_AFFILIATE: bool = true;

    async fn owners(&self, app: &App, _: &Caller, programs: &Programs) -> Result<Owners, Problem> {
        Ok(Owners {
            merchant: programs.merchant_of(app, &self.program).await?,
            affiliate: Some(self.affiliate.clone()),
        })
    }

    async fn check(
        &self,
        app: &App,
        _: &Caller,
        _: Option<&Self>,
        _: Option<&str>,
    ) -> Result<(), Problem> {
        pair(app, &self.program, &self.affiliate).await.map(drop)
    }

    async fn made_again(
        &self,
        app: &App,
        made_at: Timestamp,
        now: Timestamp,
        caller: &Caller,
    ) -> Result<(), Problem> {
        let (program, affiliate) = (&self.program, &self.affiliate);
        enrol(app, program, affiliate, made_at, now, caller).await
    }

    /// Whoever takes a coupon over is let in as well.
    async fn changing(
        &self,
        app: &App,
        before: &Self,
        now: Timestamp,
        caller: &Caller,
    ) -> Result<(), Problem> {
        if self.affiliate == before.affiliate {
            return Ok(());
        }
        enrol(app, &self.program, &self.affiliate, now, now, caller).await
    }
}

impl Resource for Claim {
    const READ: Action = Action::ReadClaims;
    const CREATE: Action = Action::MakeClaims;
    const CHANGE: Action = Action::DecideClaims;
    const LISTED_BY_AFFILIATE: bool = true;

    async fn owners(&self, app: &App, _: &Caller, programs: &Programs) -> Result<Owners, Problem> {
        Ok(Owners {
            merchant: programs.merchant_of(app, &self.program).await?,
            affiliate: Some(self.affiliate.clone()),
        })
    }
}
