//! Decisions by the list: a line each, an answer each, and a run that only says what would come.

use csv::ReaderBuilder;
use http::StatusCode;
use serde_json::{Map, Value, json};
use shared::app::{App, unavailable};
use shared::conversion::{Conversion, OrderKey, Status, digest, is_order_id};
use shared::http_types::{Fields, Page, Problem, Request, Response, is_note};
use shared::ids::{MerchantId, ProgramId};
use shared::lambda::Watch;
use shared::money::Money;
use shared::reversing::{self, Asked};
use shared::rights::{Action, Caller, Subject};
use shared::setup::{Goal, Merchant, OrderScope};

use super::{amend, is_done, move_to};

const LINES_MOST: usize = 1_000;
const BYTES_MOST: usize = 1_024 * 1_024;

/// What a line may hold. `id` is the sender's name for a reversal or an amendment; without it the
/// line's own content is its name, and a whole reversal is the order's only one without a name.
const MEMBERS: [&str; 6] = ["order_id", "goal", "action", "amount", "reason", "id"];

/// `POST /api/v1/conversions/decisions`
pub async fn decide(
    app: &App,
    request: &Request,
    caller: &Caller,
    watch: Watch<'_>,
) -> Result<Response, Problem> {
    caller.may_at_all(Action::DecideConversions)?;
    let mut query = request.query_fields()?;
    let is_dry = query.flag("dry_run")?.unwrap_or(false);
    let merchant = query.parsed("merchant", "id_invalid", MerchantId::parse)?;
    let program = query.parsed("program", "id_invalid", ProgramId::parse)?;
    query.finish()?;
    let merchant = match (caller.merchant(), merchant) {
        (Some(own), Some(named)) if *own != named => return Err(Problem::not_found()),
        (Some(own), _) => own.clone(),
        (None, Some(named)) => named,
        (None, None) => only_merchant(app).await?,
    };
    let subject = Subject {
        merchant: Some(&merchant),
        affiliate: None,
    };
    caller.may(Action::DecideConversions, subject)?;
    let found = app
        .store
        .record::<Merchant>(merchant.as_str())
        .await
        .map_err(unavailable)?;
    let found = found.ok_or_else(Problem::not_found)?.record;
    if found.order_scope == OrderScope::Program && program.is_none() {
        return Err(Problem::invalid("parameter_missing", "program"));
    }
    if request.body.len() > BYTES_MOST {
        return Err(Problem::too_large());
    }
    let lines = lines(request)?;
    if lines.len() > LINES_MOST {
        return Err(Problem::too_large());
    }

    let bulk = Bulk {
        app,
        request,
        caller,
        merchant,
        order_scope: found.order_scope,
        program,
        is_dry,
    };
    let mut answers = Vec::with_capacity(lines.len());
    for line in lines {
        answers.push(match line {
            _ if watch.is_nearly_over() => Err(Problem::unavailable()),
            Ok(line) => bulk.one(line).await,
            Err(problem) => Err(problem),
        });
    }
    Ok(Response::lines(answers))
}

/// Whose orders are meant where nobody says so: there must be no choice.
async fn only_merchant(app: &App) -> Result<MerchantId, Problem> {
    let two = Page {
        limit: 2,
        after: None,
    };
    let merchants = app.store.records::<Merchant>(None, &two).await;
    let (merchants, _) = merchants.map_err(unavailable)?;
    match merchants.as_slice() {
        [only] => Ok(only.record.id.clone()),
        _ => Err(Problem::invalid("parameter_missing", "merchant")),
    }
}

/// What says that it is CSV is, and so is what neither says that it is JSON nor begins like it.
fn is_csv(request: &Request) -> bool {
    let kind = request.header("content-type").unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    let begins_like_json = request.body.trim_ascii_start().starts_with(b"{");
    kind.contains("csv") || !kind.contains("json") && !begins_like_json
}

/// The lines of a CSV (its first line names the columns) or of NDJSON; counted from 1, without the
/// CSV's first.
fn lines(request: &Request) -> Result<Vec<Result<Fields, Problem>>, Problem> {
    if !is_csv(request) {
        let lines = request.body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty());
        return Ok(lines
            .map(|line| Fields::from_json(line).map_err(Problem::from))
            .collect());
    }
    let body = request
        .body
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&request.body);
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(body);
    let invalid = |_| Problem::invalid("csv_invalid", "");
    let columns: Vec<String> = reader
        .headers()
        .map_err(invalid)?
        .iter()
        .map(str::to_owned)
        .collect();
    // A list without its first line would have an order's id for a column.
    if !columns.iter().any(|name| name == "order_id") {
        return Err(Problem::invalid("parameter_missing", "order_id"));
    }
    if let Some(unknown) = columns
        .iter()
        .find(|name| !MEMBERS.contains(&name.as_str()))
    {
        return Err(Problem::invalid("parameter_unknown", unknown));
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        let line = match record {
            Ok(record) if record.len() <= columns.len() => {
                let pairs = columns.iter().zip(record.iter());
                let members: Map<String, Value> = pairs
                    .filter(|(_, text)| !text.is_empty())
                    .map(|(name, text)| (name.clone(), json!(text)))
                    .collect();
                Fields::from_object(Value::Object(members)).map_err(Problem::from)
            }
            _ => Err(Problem::invalid("csv_invalid", "")),
        };
        lines.push(line);
    }
    Ok(lines)
}

struct Bulk<'a> {
    app: &'a App,
    request: &'a Request,
    caller: &'a Caller,
    merchant: MerchantId,
    order_scope: OrderScope,
    /// Whose orders alone are meant.
    program: Option<ProgramId>,
    is_dry: bool,
}

impl Bulk<'_> {
    async fn one(&self, mut line: Fields) -> Result<Value, Problem> {
        let order_id = line.required("order_id")?;
        let goal = line.parsed("goal", "goal_unknown", |text| {
            Goal::is_name(text).then(|| text.to_lowercase()).ok_or(())
        })?;
        let action = line.required("action")?;
        let amount = line.text("amount")?;
        let reason = line.parsed("reason", "text_invalid", |text| {
            is_note(text).then(|| text.to_owned()).ok_or(())
        })?;
        let id = line.parsed("id", "id_invalid", |text| {
            let is_name = is_order_id(text) && !text.starts_with(' ');
            is_name.then(|| text.to_owned()).ok_or(())
        })?;
        line.finish()?;
        let order = OrderKey {
            merchant: self.merchant.clone(),
            program: match self.order_scope {
                OrderScope::Program => self.program.clone(),
                OrderScope::Merchant => None,
            },
            order_id: order_id.clone(),
            goal: goal.clone().unwrap_or_default(),
        };
        let mut found = self
            .app
            .store
            .conversions_of(&order)
            .await
            .map_err(unavailable)?;
        found.retain(|conversion| {
            let (goal, program) = (goal.as_ref(), self.program.as_ref());
            goal.is_none_or(|goal| conversion.key.goal == *goal)
                && program.is_none_or(|program| conversion.program == *program)
        });
        let seen = match found.len() {
            0 => return Err(Problem::new(StatusCode::NOT_FOUND, "order_unknown")),
            1 => found.remove(0),
            _ => return Err(Problem::invalid("goal_required", "goal")),
        };
        let is_named = id.is_some();
        // Saved again, a list spells its amounts in another way.
        let amount = amount.map(|text| {
            let amount = Money::parse(&text, seen.currency);
            amount.map_or(text, |amount| amount.to_string())
        });
        let name = id.unwrap_or_else(|| {
            let content = json!([order_id, seen.key.goal, action, amount, reason]);
            format!("line {}", digest(&content.to_string()))
        });
        match action.as_str() {
            "approve" => {
                self.decide(seen, Status::Pending, Status::Approved, None)
                    .await
            }
            "reject" => {
                let reason =
                    reason.ok_or_else(|| Problem::invalid("parameter_missing", "reason"))?;
                self.decide(seen, Status::Pending, Status::Rejected, Some(reason))
                    .await
            }
            "reverse" => {
                let name = (is_named || amount.is_some()).then_some(name);
                self.reverse(seen, amount, reason, name).await
            }
            "amend" => {
                let amount =
                    amount.ok_or_else(|| Problem::invalid("parameter_missing", "amount"))?;
                let reason =
                    reason.ok_or_else(|| Problem::invalid("parameter_missing", "reason"))?;
                self.amend(seen, &amount, reason, name).await
            }
            _ => Err(Problem::invalid("word_unknown", "action")),
        }
    }

    fn answer(&self, conversion: &Conversion, result: &str) -> Value {
        json!({
            "result": result,
            "conversion": conversion.key.conversion_id(),
            "status": conversion.stands().as_str(),
        })
    }

    async fn decide(
        &self,
        seen: Conversion,
        from: Status,
        to: Status,
        reason: Option<String>,
    ) -> Result<Value, Problem> {
        let was_done = is_done(&seen, from, to)?;
        if self.is_dry {
            return Ok(self.answer(
                &seen,
                if was_done {
                    "unchanged"
                } else {
                    "would_change"
                },
            ));
        }
        let word = if to == Status::Approved {
            "approve"
        } else {
            "reject"
        };
        let moved = move_to(
            self.app,
            self.request,
            self.caller,
            seen,
            (from, to),
            word,
            reason,
        )
        .await?;
        let result = if was_done { "unchanged" } else { "changed" };
        Ok(self.answer(&moved, result))
    }

    async fn reverse(
        &self,
        seen: Conversion,
        amount: Option<String>,
        reason: Option<String>,
        id: Option<String>,
    ) -> Result<Value, Problem> {
        let asked = Asked {
            order: seen.key.clone(),
            goal: None,
            id,
            amount,
            currency: None,
            items: Vec::new(),
            reason,
        };
        if self.is_dry {
            if reversing::was_taken(self.app, &asked, &seen).await? {
                return Ok(self.answer(&seen, "unchanged"));
            }
            let taken = reversing::would_take(&asked, &seen)?;
            let mut answer = self.answer(&seen, "would_change");
            answer["amount"] = json!(taken.to_string());
            return Ok(answer);
        }
        let key = seen.key.clone();
        let (is_new, body) =
            reversing::reverse_one(self.app, &asked, seen, self.request.now).await?;
        let current = self.app.store.conversion(&key).await.map_err(unavailable)?;
        let current = current.ok_or_else(Problem::unavailable)?;
        let mut answer = self.answer(&current, if is_new { "changed" } else { "unchanged" });
        answer["reversed"] = body["reversed"].clone();
        answer["remaining"] = body["remaining"].clone();
        Ok(answer)
    }

    async fn amend(
        &self,
        seen: Conversion,
        amount: &str,
        reason: String,
        name: String,
    ) -> Result<Value, Problem> {
        let wanted = amend::Wanted::of_amount(&seen, name, amount, reason)?;
        if self.is_dry {
            if wanted.was_done(self.app, &seen).await? {
                return Ok(self.answer(&seen, "unchanged"));
            }
            let commissions = wanted.rated(self.app, &seen).await?;
            let mut answer = self.answer(&seen, "would_change");
            answer["commissions"] = commissions.iter().map(ToString::to_string).collect();
            return Ok(answer);
        }
        let ver = seen.ver;
        let amended = wanted
            .apply(self.app, self.request.now, self.caller, seen)
            .await?;
        let is_changed = amended.ver != ver;
        Ok(self.answer(&amended, if is_changed { "changed" } else { "unchanged" }))
    }
}
