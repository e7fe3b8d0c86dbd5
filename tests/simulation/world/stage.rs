//! What every world begins with, made once through the API and copied after that.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use clickledger::embedded::Embedded;
use clickledger::tables;
use http::Method;
use serde_json::{Value, json};
use shared::rights::{ApiKey, KeyText};
use shared::store::Audit;
use tempfile::TempDir;

use super::{Function, World, affiliate_id, coupon, decimal, slug, terms_json};
use crate::cast::{
    AFFILIATES, BOUNDED, Commission, LEAD, Model, PROGRAMS, Program, SALE, SHOE, TERMS, Terms,
};

/// What every affiliate has before a history gives it its own.
const STAGE_TERMS: Terms = TERMS[0];

/// Tables, keys, two merchants with two payers, five programs and four affiliates, each with a
/// link for every program: made once for each first day, and copied for every world after that.
pub struct Stages {
    folder: TempDir,
    made: Mutex<BTreeMap<i64, Arc<Stage>>>,
}

pub(super) struct Stage {
    pub snapshot: PathBuf,
    pub tokens: Vec<String>,
    pub secrets: Vec<String>,
    pub affiliates: Vec<String>,
}

impl Stages {
    pub fn none() -> Self {
        Self {
            folder: TempDir::new().expect("there is a place for files that come and go"),
            made: Mutex::default(),
        }
    }

    /// The stage at this instant, in milliseconds since 1970.
    pub(super) async fn of(&self, at: i64) -> Arc<Stage> {
        if let Some(stage) = self.made().get(&at) {
            return Arc::clone(stage);
        }
        // The same in every process: each world's chance begins anew after it.
        fastrand::seed(at.unsigned_abs());
        let table = Embedded::in_memory();
        tables::create(&table.client("setup"), &tables::names())
            .await
            .expect("an engine in memory makes tables");
        let mut world = World::over(table, at, 0);
        world.cast().await;
        let mut made = self.made();
        // Two threads may have made it; one is enough.
        let stage = made.entry(at).or_insert_with(|| {
            let snapshot = self.folder.path().join(at.to_string());
            let engine = world.table.engine();
            engine
                .vacuum_into(&snapshot.to_string_lossy())
                .expect("a stage is written to a file");
            Arc::new(Stage {
                snapshot,
                tokens: world.tokens,
                secrets: world.secrets,
                affiliates: world.affiliates,
            })
        });
        Arc::clone(stage)
    }

    fn made(&self) -> MutexGuard<'_, BTreeMap<i64, Arc<Stage>>> {
        self.made
            .lock()
            .expect("no code panics while it makes a stage")
    }
}

impl World {
    /// Before anything else happened, so that nothing of it is ever under way.
    pub(super) async fn gets_terms(&self, affiliate: usize, terms: Terms) {
        if terms == STAGE_TERMS {
            return;
        }
        let mut body = terms_json(terms);
        body["if-match"] = json!("\"1\"");
        let path = format!("/api/v1/affiliates/{}", affiliate_id(affiliate));
        let changed = self
            .call(Function::Console, Method::PATCH, &path, &self.admin, &body)
            .await;
        let changed = changed.map(|response| response.status.as_u16());
        assert_eq!(changed, Some(200), "{path}");
    }

    async fn cast(&mut self) {
        let store = self.instance(Function::Console).app.store.clone();
        let audit = Audit {
            key: "start".to_owned(),
            person: "operator".to_owned(),
            what: "create key".to_owned(),
            reason: None,
        };
        for (text, person) in [(&self.admin, "admin"), (&self.auditor, "auditor")] {
            let key = ApiKey::admin(&KeyText::given(text).expect("32 characters"), person);
            store
                .create(&key, super::instant(self.millis()), &audit)
                .await
                .expect("the network is calm");
        }
        let agency = json!({
            "id": "agency", "legal_name": "Agency", "address": {"town": "Wien", "country": "AT"},
        });
        self.made("payers", agency).await;
        for (id, payer) in [("m0", "house"), ("m1", "agency")] {
            let merchant = json!({"id": id, "name": id, "payer": payer});
            let made = self.made("merchants", merchant).await;
            let token = made["secret"]["postback_token"].as_str();
            self.tokens
                .push(token.expect("a new merchant has a token").to_owned());
            let secret = made["secret"]["signing_secret"].as_str();
            self.secrets
                .push(secret.expect("a new merchant has a secret").to_owned());
        }
        for program in PROGRAMS {
            let model = match program.model {
                Model::LastClick => "last_click",
                Model::Linear => "linear",
            };
            let mut json = program_json(&program);
            let members = json!({
                "attribution": {"model": model},
                "id": program.id, "merchant": format!("m{}", program.merchant), "name": program.id,
                "currency": program.currency, "destination": "https://shop.example/",
                "approval": if program.is_manual { "manual" } else { "auto" },
                "click_window": program.window, "status": "active", "override": "a world",
            });
            for (name, value) in members.as_object().into_iter().flatten() {
                json[name] = value.clone();
            }
            if program.approves_after_a_day {
                json["approve_after"] = json!("24h");
            }
            if program.lead.is_some() {
                json["goals"] = json!([{"name": SALE}, {"name": LEAD}]);
            }
            self.made("programs", json).await;
        }
        for number in 0..AFFILIATES {
            let mut affiliate = terms_json(STAGE_TERMS);
            affiliate["id"] = json!(affiliate_id(number));
            affiliate["name"] = json!("A");
            affiliate["email"] = json!("a@example.com");
            affiliate["country"] = json!("DE");
            affiliate["lanes"] = json!(number + 1);
            self.made("affiliates", affiliate).await;
            let key = json!({
                "role": "affiliate", "affiliate": affiliate_id(number), "person": affiliate_id(number),
            });
            let key = self.made("keys", key).await;
            let key = key["key"].as_str().expect("a new key is shown once");
            self.affiliates.push(key.to_owned());
            for (place, program) in PROGRAMS.iter().enumerate() {
                let slug = slug(number, program.id);
                let affiliate = affiliate_id(number);
                let mut link = json!({"slug": slug, "program": program.id, "affiliate": affiliate});
                let is_bound = |of: &&(usize, usize, usize)| (of.0, of.1) == (number, place);
                if let Some((.., most)) = BOUNDED.iter().find(is_bound) {
                    link["click_cap"] = json!({"count": most, "period": "lifetime"});
                }
                self.made("links", link).await;
                let code = coupon(number, program.id);
                let coupon =
                    json!({"program": program.id, "affiliate": affiliate_id(number), "code": code});
                self.made("coupons", coupon).await;
            }
        }
    }

    async fn made(&self, resource: &str, body: Value) -> Value {
        let path = format!("/api/v1/{resource}");
        let made = self
            .call(Function::Console, Method::POST, &path, &self.admin, &body)
            .await;
        let made = tests::answer(&made.expect("nothing dies while a world is made"));
        assert_eq!(made.status, 201, "{resource}: {made:?}");
        made.body
    }
}

/// What a new version of a program may change.
pub fn program_json(program: &Program) -> Value {
    let mut json = json!({
        "hold_days": program.hold_days, "rounding": program.rounding, "commission": rules(program),
    });
    let mut caps = Vec::new();
    if let Some(budget) = program.budget {
        caps.push(json!({"amount": decimal(budget, program.currency)}));
    }
    if let Some(most) = program.orders_a_day {
        caps.push(json!({"per": "affiliate", "period": "day", "count": most}));
    }
    if !caps.is_empty() {
        json["caps"] = json!(caps);
    }
    json
}

/// A program's rules as the API takes them.
fn rules(program: &Program) -> Value {
    let percent = |share: i64| format!("{}.{:03}", share / 1_000, share % 1_000);
    let amount = |minor| decimal(minor, program.currency);
    let mut rules = match program.commission {
        Commission::Share(share) => vec![json!({"type": "percent", "percent": percent(share)})],
        Commission::Ending { most, first, then } => vec![
            json!({"type": "percent", "percent": percent(first), "recurring": {"max_count": most}}),
            json!({"type": "percent", "percent": percent(then)}),
        ],
        Commission::Steps { first, from, then } => {
            let steps = json!([
                {"from": 1, "amount": amount(first)}, {"from": from, "amount": amount(then)},
            ]);
            let tiers = json!({"by": "count", "period": "lifetime", "steps": steps});
            vec![json!({"type": "tiered", "tiers": tiers})]
        }
        Commission::Lines { shoes, rest } => vec![
            json!({"type": "percent", "percent": percent(shoes), "when": {"sku": SHOE}}),
            json!({"type": "percent", "percent": percent(rest)}),
        ],
        Commission::Flat(flat) => vec![json!({"type": "flat", "amount": amount(flat)})],
    };
    if let Some(lead) = program.lead {
        let rule = json!({"type": "flat", "goal": LEAD, "amount": amount(lead)});
        rules.insert(0, rule);
    }
    json!(rules)
}
