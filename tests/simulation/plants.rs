//! Bugs that are planted: what the table is asked, or what it answers, is changed on its way, as
//! if our code had been written so. A world must notice each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use clickledger::embedded::{Embedded, Passing};
use dynoxide::Database;
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a list may miss what a transaction made.
const FRESH: Duration = Duration::from_secs(30);

/// A bug, and what our code does instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    BucketWithoutCondition,
    GateUnchecked,
    GatesNeverClosed,
    ReadBeforeClose,
    DaysOutOfOrder,
    NoWakeUp,
    ChangeNotNoted,
    ChangeAfterRun,
    BareAdd,
    TokenOnly,
    ListedOnce,
    LanesAsListed,
    SettledTwice,
    PayoutIdAtRandom,
    NaiveRefund,
    ConflictAsRefusal,
    ReversalIntoClosed,
    ApprovalWithoutVersion,
    CreditWithoutVersion,
    ReversalUnguarded,
    AdjustmentUnguarded,
    RefusalTakesOrder,
    LastPageSkipped,
    StaleReadsForMoney,
    StepWithoutVersion,
    CarryForgotten,
    PocketNotNoted,
    MonthNotAdded,
    WaitingNotKept,
    StepUncounted,
    BudgetUnguarded,
    RoomTwice,
    DueNotNoted,
    ClickCapUnguarded,
    VisitorStillNamed,
    LinesForgotten,
    GivenWithoutVersion,
    HoldForgotten,
    JourneyForgotten,
    CustomerNotKept,
    ReversalToday,
    EarnedNetted,
    JourneyMayLag,
    AmendmentUnguarded,
    LinkUnknown,
    WaitingMiscounted,
    TermsOfToday,
    CustomerUncounted,
    StaleEpoch,
}

impl Plant {
    pub const ALL: [(Self, &'static str); 49] = [
        (
            Self::BucketWithoutCondition,
            "a bucket takes money whatever its state",
        ),
        (
            Self::GateUnchecked,
            "a bucket is made without asking for its gate",
        ),
        (Self::GatesNeverClosed, "a day's gates stay open"),
        (
            Self::ReadBeforeClose,
            "a bucket is read when it is listed, not once it is closed",
        ),
        (
            Self::DaysOutOfOrder,
            "a run takes yesterday first, whatever was not done before",
        ),
        (
            Self::NoWakeUp,
            "carry is not looked at again without new money",
        ),
        (
            Self::ChangeNotNoted,
            "a change of terms is not noted for its day's run",
        ),
        (
            Self::ChangeAfterRun,
            "a change of terms does not ask whether its day's run has begun",
        ),
        (
            Self::BareAdd,
            "a bucket's sum is added to outside the guarded transaction",
        ),
        (
            Self::TokenOnly,
            "an order's only guard is the client request token",
        ),
        (
            Self::ListedOnce,
            "a day's buckets are not listed again once a minute is over",
        ),
        (
            Self::LanesAsListed,
            "an account settles those of its lanes that a list shows",
        ),
        (
            Self::SettledTwice,
            "neither bucket nor account is guarded when a day is settled",
        ),
        (
            Self::PayoutIdAtRandom,
            "a payout has another id each time it is tried",
        ),
        (
            Self::NaiveRefund,
            "each partial reversal is rounded by itself",
        ),
        (
            Self::ConflictAsRefusal,
            "a transaction conflict is read as a condition that failed",
        ),
        (
            Self::ReversalIntoClosed,
            "a reversal goes into its leg's bucket though that is closed",
        ),
        (
            Self::ApprovalWithoutVersion,
            "a decision does not ask which version it was judged by",
        ),
        (
            Self::CreditWithoutVersion,
            "two late posts may both credit an unattributed order",
        ),
        (
            Self::ReversalUnguarded,
            "a reversal is booked as often as it arrives",
        ),
        (
            Self::AdjustmentUnguarded,
            "an adjustment is booked as often as it arrives",
        ),
        (
            Self::RefusalTakesOrder,
            "a refused claim is kept under the order's own key",
        ),
        (Self::LastPageSkipped, "a list ends with its first page"),
        (
            Self::StaleReadsForMoney,
            "money is decided on reads that may lag",
        ),
        (
            Self::StepWithoutVersion,
            "two people may both take a payout on",
        ),
        (Self::CarryForgotten, "what is not paid is not carried"),
        (
            Self::PocketNotNoted,
            "a pocket is in no list of the payer's",
        ),
        (Self::MonthNotAdded, "a settle leaves the month's row alone"),
        (
            Self::WaitingNotKept,
            "a reversal without its sale is told 404 and forgotten",
        ),
        (
            Self::StepUncounted,
            "two orders of an affiliate may stand on the same step",
        ),
        (
            Self::BudgetUnguarded,
            "a budget's lane takes more than it has",
        ),
        (
            Self::RoomTwice,
            "a budget's lanes are given room for what was taken of it already",
        ),
        (
            Self::DueNotNoted,
            "no run finds the orders that nobody decided",
        ),
        (
            Self::ClickCapUnguarded,
            "a link's bound counts clicks and refuses none",
        ),
        (
            Self::VisitorStillNamed,
            "an order keeps the names of a forgotten visitor's clicks",
        ),
        (
            Self::LinesForgotten,
            "what was taken back of one line counts as taken of all of them",
        ),
        (
            Self::GivenWithoutVersion,
            "people may give an order to somebody that others have by now",
        ),
        (
            Self::HoldForgotten,
            "money becomes payable at once, however long its program holds it",
        ),
        (
            Self::JourneyForgotten,
            "nobody looks what else a named click's visitor clicked",
        ),
        (
            Self::CustomerNotKept,
            "nobody remembers who brought a customer",
        ),
        (
            Self::ReversalToday,
            "a reversal goes into today's bucket, whatever it is of",
        ),
        (
            Self::EarnedNetted,
            "a month shows what was earned less what was taken back",
        ),
        (
            Self::JourneyMayLag,
            "a journey is taken from a read that may lag",
        ),
        (
            Self::AmendmentUnguarded,
            "an amendment is made as often as it arrives",
        ),
        (
            Self::LinkUnknown,
            "a link whose affiliate cannot be read is one that does not exist",
        ),
        (
            Self::WaitingMiscounted,
            "a month goes on to show what waited and waits no more",
        ),
        (
            Self::TermsOfToday,
            "an order is judged by its program's newest terms, whenever it was made",
        ),
        (
            Self::CustomerUncounted,
            "two orders may both be the first of their customer",
        ),
        (
            Self::StaleEpoch,
            "a run settles what a later one has closed",
        ),
    ];

    /// Whether something else stands behind what it takes away, so that nobody need notice: it is planted
    /// where it is asked for.
    pub fn is_backed(self) -> bool {
        self == Self::StaleEpoch
    }

    /// Stands between functions and table from here on.
    pub fn put_into(plant: Option<Self>, table: &Embedded, told: &Told, seed: u64) {
        let mut between = Between {
            plant,
            database: table.engine().clone(),
            told: told.clone(),
            seed,
            numbers: seed,
            listed: BTreeMap::new(),
            epochs: BTreeMap::new(),
            fresh: BTreeMap::new(),
        };
        // Without a bug only what lists may miss is looked at: see `hide_fresh`.
        let looks_at = move |operation: &str, body: &[u8]| {
            let names = ["\"B#", "\"CHANGES#", "\"affiliate#"];
            let has_one = || {
                let body = std::str::from_utf8(body).unwrap_or_default();
                names.iter().any(|name| body.contains(name))
            };
            plant.is_some() || matches!(operation, "TransactWriteItems" | "Query") && has_one()
        };
        table.meddle(looks_at, move |passing| match passing {
            Passing::Asked {
                function,
                operation,
                request,
            } => between.asked(function, operation, request),
            Passing::Answered {
                operation,
                request,
                answer,
                ..
            } => {
                between.answered(operation, request, answer);
                None
            }
        });
    }
}

/// What a world and whoever stands between its functions and its table tell each other.
#[derive(Clone, Default)]
pub struct Told {
    /// Days since 1970, by a clock that is right.
    pub today: Arc<AtomicI64>,
    /// How many items lists have missed.
    pub missed: Arc<AtomicU64>,
}

struct Between {
    plant: Option<Plant>,
    database: Database,
    told: Told,
    seed: u64,
    numbers: u64,
    /// Buckets as they were listed.
    listed: BTreeMap<(String, String), Value>,
    /// By bucket: the epoch that it was last closed with.
    epochs: BTreeMap<(String, String), Value>,
    /// Buckets, changes and versions that a transaction made just now: a list may miss them.
    fresh: BTreeMap<(String, String), Instant>,
}

impl Between {
    fn asked(
        &mut self,
        function: &'static str,
        operation: &'static str,
        request: &mut Value,
    ) -> Option<Value> {
        match operation {
            "TransactWriteItems" => self.transaction(function, request),
            "GetItem" | "Query" => self.read(function, operation, request),
            "UpdateItem" => {
                if self.plant == Some(Plant::RefusalTakesOrder) && sk(request).contains("#X#") {
                    self.take_order(request);
                }
                if self.plant == Some(Plant::ClickCapUnguarded) && pk(request).starts_with("QC#") {
                    always(request);
                }
                None
            }
            _ => None,
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table of bugs, each a few lines")]
    fn transaction(&mut self, function: &'static str, request: &mut Value) -> Option<Value> {
        let plant = self.plant?;
        let done = Some(json!({}));
        let list = request["TransactItems"].as_array_mut()?;
        match plant {
            Plant::GatesNeverClosed if list.iter().all(|member| sk(inner(member)) == "!GATE") => {
                return done;
            }
            Plant::PocketNotNoted if list.iter().all(|member| is_note(inner(member))) => {
                return done;
            }
            Plant::WaitingNotKept
                if list
                    .iter()
                    .any(|member| sk(inner(member)).starts_with("#W#")) =>
            {
                return done;
            }
            Plant::LanesAsListed
                if function == "payout"
                    && list.len() == 1
                    && self.is_unlisted_lane(inner(&list[0])) =>
            {
                return done;
            }
            Plant::ChangeNotNoted => {
                list.retain(|member| !pk(inner(member)).starts_with("CHANGES#"));
                return None;
            }
            Plant::CustomerNotKept => {
                for member in list {
                    if pk(inner(member)).starts_with("K#") {
                        *member = json!({ "ConditionCheck": nothing_asked(inner(member)) });
                    }
                }
                return None;
            }
            Plant::ReversalToday => {
                let today = day(self.told.today.load(Ordering::Relaxed));
                take_back_on(list, &today);
                return None;
            }
            Plant::WaitingMiscounted => {
                list.retain(|member| {
                    let waits = &inner(member)["Item"]["unapproved"]["N"];
                    !waits.as_str().is_some_and(|change| change.starts_with('-'))
                });
                return None;
            }
            Plant::DueNotNoted => {
                list.retain(|member| !pk(inner(member)).starts_with("DUE#"));
                return None;
            }
            Plant::RoomTwice
                if list
                    .iter()
                    .all(|member| pk(inner(member)).starts_with("Q#")) =>
            {
                for member in list {
                    let item = &mut inner_mut(member)["Item"];
                    let number = |name: &str| -> i64 {
                        let text = item[name]["N"].as_str().unwrap_or_default();
                        text.parse().unwrap_or(0)
                    };
                    let room = number("room") + number("used");
                    item["room"] = json!({"N": room.to_string()});
                }
                return None;
            }
            Plant::NoWakeUp => {
                let is_wake = |member: &Value| {
                    pk(inner(member)).starts_with("B#")
                        && inner(member)["Item"]["count"]["N"] == "0"
                };
                if list.len() == 2 && list.iter().any(is_wake) {
                    return done;
                }
                if let Some(place) = list.iter().position(is_wake) {
                    list.truncate(place);
                }
                return None;
            }
            _ => {}
        }
        if plant == Plant::NaiveRefund {
            round_naively(list);
        }
        if plant == Plant::BareAdd {
            for member in list.iter_mut() {
                self.add_apart(member);
            }
        }
        let is_alone = list.len() == 1;
        let is_of_affiliate = list
            .iter()
            .any(|member| pk(inner(member)).starts_with("affiliate#"));
        for member in list.iter_mut() {
            let kind = kind(member).to_owned();
            let at = inner(member);
            let (pk, sk) = (pk(at).to_owned(), sk(at).to_owned());
            let is_add =
                kind == "Update" && pk.starts_with("B#") && expression(at).starts_with("ADD");
            let is_drain = expression(at).contains(":drained");
            let is_gate = kind == "ConditionCheck" && sk == "!GATE";
            let is_close = kind == "Update"
                && pk.starts_with("B#")
                && expression(at).contains(":closed, epoch");
            let is_conversion = pk.starts_with("C#") && !sk.contains('#');
            let asks_version = at["ConditionExpression"] == "ver = :seen";
            let to = inner_mut(member);
            match plant {
                Plant::BucketWithoutCondition if is_add => or(to, "attribute_exists(pk)"),
                Plant::GateUnchecked if is_gate && !is_of_affiliate => always(to),
                Plant::ChangeAfterRun if is_gate && is_of_affiliate => always(to),
                Plant::ReadBeforeClose if is_close => {
                    self.epochs
                        .insert((pk, sk), to["ExpressionAttributeValues"][":epoch"].clone());
                }
                Plant::ReadBeforeClose if is_drain => {
                    or(to, "(#state = :closed AND epoch = :epoch)")
                }
                Plant::TokenOnly if is_conversion || pk.starts_with("E#") => always(to),
                Plant::SettledTwice if is_drain || pk.starts_with("A#") => always(to),
                Plant::SettledTwice
                    if function == "payout" && (pk.starts_with("P#") || pk.starts_with("E#")) =>
                {
                    always(to);
                }
                Plant::PayoutIdAtRandom if kind == "Put" && pk.starts_with("P#") => {
                    self.seed = self.seed.wrapping_add(1);
                    to["Item"]["pk"] = json!({"S": format!("{pk}{}", self.seed)});
                    let id = to["Item"]["id"]["S"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                    to["Item"]["id"] = json!({"S": format!("{id}{}", self.seed)});
                }
                Plant::ReversalIntoClosed if is_add && expression(to).contains("reversed") => {
                    always(to)
                }
                Plant::ApprovalWithoutVersion
                    if function == "console"
                        && (is_conversion && asks_version || pk.starts_with("M#")) =>
                {
                    always(to);
                }
                Plant::StaleEpoch if is_close || is_drain => or(to, "#state = :closed"),
                Plant::AmendmentUnguarded if sk.contains("#M#") => always(to),
                Plant::StepUncounted if pk.starts_with("T#") => always(to),
                Plant::CustomerUncounted if pk.starts_with("TC#") => always(to),
                Plant::BudgetUnguarded if pk.starts_with("Q#") => always(to),
                Plant::CreditWithoutVersion
                    if is_conversion && asks_version && function == "postback" =>
                {
                    always(to)
                }
                Plant::ReversalUnguarded
                    if sk.contains("#R#")
                        || is_conversion && asks_version
                        || pk.starts_with("E#") =>
                {
                    always(to);
                }
                Plant::AdjustmentUnguarded
                    if function == "payout"
                        && ["ADJ#", "AUDIT#", "E#"]
                            .iter()
                            .any(|one| pk.starts_with(one)) =>
                {
                    always(to);
                }
                Plant::StepWithoutVersion if kind == "Update" && pk.starts_with("P#") => always(to),
                Plant::VisitorStillNamed
                    if function == "console" && is_conversion && kind == "Put" && is_alone =>
                {
                    let at = json!({"TableName": to["TableName"], "Key": {
                        "pk": to["Item"]["pk"], "sk": to["Item"]["sk"],
                    }});
                    to["Item"]["why"] = self.stands(&at)["why"].clone();
                }
                Plant::GivenWithoutVersion
                    if function == "console" && is_conversion && asks_version && is_given(to) =>
                {
                    always(to);
                }
                Plant::LinesForgotten if is_conversion && kind == "Put" => {
                    let lines = to["Item"]["basket"]["S"].as_str().unwrap_or_default();
                    let mut lines: Value = serde_json::from_str(lines).unwrap_or_default();
                    for line in lines.as_array_mut().into_iter().flatten() {
                        line[3] = json!(0);
                    }
                    if !lines.is_null() {
                        to["Item"]["basket"] = json!({"S": lines.to_string()});
                    }
                }
                Plant::CarryForgotten
                    if kind == "Update"
                        && pk.starts_with("A#")
                        && expression(to).contains(":carry") =>
                {
                    to["ExpressionAttributeValues"][":carry"] = json!({"N": "0"});
                }
                Plant::EarnedNetted
                    if pk.starts_with("M#") && expression(to).contains("opening") =>
                {
                    let values = &mut to["ExpressionAttributeValues"];
                    let number = |of: &Value| -> i64 {
                        of["N"].as_str().unwrap_or_default().parse().unwrap_or(0)
                    };
                    let net = number(&values[":earned"]) + number(&values[":reversed"]);
                    values[":earned"] = json!({"N": net.to_string()});
                    values[":reversed"] = json!({"N": "0"});
                }
                Plant::MonthNotAdded
                    if pk.starts_with("M#") && expression(to).contains("opening") =>
                {
                    *member = json!({ "ConditionCheck": nothing_asked(inner(member)) });
                }
                _ => {}
            }
        }
        None
    }

    /// The bucket's sum, added by itself; in the transaction only a question stays.
    fn add_apart(&self, member: &mut Value) {
        let at = inner(member);
        if kind(member) != "Update"
            || !pk(at).starts_with("B#")
            || !expression(at).starts_with("ADD")
        {
            return;
        }
        let check = json!({"TableName": at["TableName"], "Key": at["Key"],
            "ConditionExpression": "attribute_exists(pk)"});
        if let Ok(update) = serde_json::from_value(at.clone())
            && self.database.update_item(update).is_ok()
        {
            *member = json!({ "ConditionCheck": check });
        }
    }

    /// A claim that was refused stands there as the order itself.
    fn take_order(&self, refusal: &Value) {
        let values = &refusal["ExpressionAttributeValues"];
        let order = pk(refusal).strip_prefix('X').unwrap_or_default();
        let goal = sk(refusal).split('#').next().unwrap_or_default();
        let text = |text: &str| json!({ "S": text });
        let item = json!({
            "pk": text(order), "sk": text(goal), "merchant": values[":merchant"],
            "order_id": values[":order"], "goal": values[":goal"], "payer": text("house"),
            "program": values[":program"], "program_ver": {"N": "1"}, "currency": text("EUR"),
            "amount": {"N": "1"}, "fingerprint": text("refused"), "rounding": text("down"),
            "status": text("rejected"), "occurred_at": values[":now"], "recorded_at": values[":now"],
            "refunded": {"N": "0"}, "ver": {"N": "1"}, "credits": text("[]"), "facts": text("{}"),
            "why": text("{}"), "split": text("[]"), "basket": text("[]"),
        });
        let put = json!({"TableName": refusal["TableName"], "Item": item,
            "ConditionExpression": "attribute_not_exists(pk)"});
        if let Ok(put) = serde_json::from_value(put) {
            drop(self.database.put_item(put));
        }
    }

    fn read(
        &mut self,
        function: &'static str,
        operation: &'static str,
        request: &mut Value,
    ) -> Option<Value> {
        match self.plant? {
            Plant::ReadBeforeClose if function == "payout" && operation == "GetItem" => {
                let key = (pk(request).to_owned(), sk(request).to_owned());
                let mut item = self.listed.get(&key)?.clone();
                item["state"] = json!({"S": "closed"});
                item["epoch"] = self.epochs.get(&key)?.clone();
                let is_drained = self.stands(request)["state"]["S"] == "drained";
                (!is_drained).then(|| json!({ "Item": item }))
            }
            Plant::LanesAsListed if function == "payout" && self.is_unlisted_lane(request) => {
                Some(json!({}))
            }
            Plant::AmendmentUnguarded if operation == "GetItem" && sk(request).contains("#M#") => {
                Some(json!({}))
            }
            Plant::LinkUnknown
                if function == "redirect" && pk(request).starts_with("affiliate#") =>
            {
                self.numbers = next(self.numbers);
                (self.numbers >> 33).is_multiple_of(8).then(|| json!({}))
            }
            Plant::JourneyMayLag if operation == "Query" && queried(request).starts_with("J#") => {
                request["ConsistentRead"] = json!(false);
                None
            }
            Plant::StaleReadsForMoney if matches!(function, "payout" | "postback") => {
                request["ConsistentRead"] = json!(false);
                None
            }
            _ => None,
        }
    }

    /// The item under a key, as it is now.
    fn stands(&self, at: &Value) -> Value {
        let get = json!({"TableName": at["TableName"], "Key": at["Key"]});
        let found = serde_json::from_value(get)
            .ok()
            .and_then(|get| self.database.get_item(get).ok());
        let found = found.and_then(|found| serde_json::to_value(found).ok());
        found.map_or(Value::Null, |mut found| found["Item"].take())
    }

    /// A bucket of another lane than the first, and no list has shown it.
    fn is_unlisted_lane(&self, at: &Value) -> bool {
        let key = (pk(at).to_owned(), sk(at).to_owned());
        key.0.starts_with("B#") && !key.1.ends_with("#00") && !self.listed.contains_key(&key)
    }

    /// A list is read committed only: what a transaction wrote may show item by item. How long
    /// that takes is promised nowhere; a second listing after a minute must do.
    fn hide_fresh(&mut self, answer: &mut Value) {
        let numbers = &mut self.numbers;
        let fresh = &self.fresh;
        if let Some(items) = answer["Items"].as_array_mut() {
            let whole = items.len();
            items.retain(|item| {
                let key = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
                let made = fresh.get(&(key("pk"), key("sk")));
                *numbers = next(*numbers);
                made.is_none_or(|made| made.elapsed() > FRESH || (*numbers >> 33).is_multiple_of(2))
            });
            let missed = u64::try_from(whole - items.len()).unwrap_or(0);
            self.told.missed.fetch_add(missed, Ordering::Relaxed);
        }
    }

    fn answered(&mut self, operation: &'static str, request: &Value, answer: &mut Value) {
        if operation == "TransactWriteItems" && answer["__type"].is_null() {
            for member in request["TransactItems"].as_array().into_iter().flatten() {
                let at = inner(member);
                if kind(member) == "Put" && is_listed_late(pk(at)) && sk(at) != "!GATE" {
                    self.fresh
                        .insert((pk(at).to_owned(), sk(at).to_owned()), Instant::now());
                }
            }
        }
        let queried = queried(request);
        if operation == "Query" && is_listed_late(queried) {
            self.hide_fresh(answer);
        }
        let Some(plant) = self.plant else {
            return;
        };
        match plant {
            Plant::ReadBeforeClose | Plant::LanesAsListed
                if operation == "Query" && queried.starts_with("B#") =>
            {
                for item in answer["Items"].as_array().into_iter().flatten() {
                    let key = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
                    self.listed.insert((key("pk"), key("sk")), item.clone());
                }
            }
            Plant::DaysOutOfOrder if operation == "GetItem" && pk(request) == "BOOKS" => {
                let before = day(self.told.today.load(Ordering::Relaxed) - 2);
                let item = &mut answer["Item"];
                let done = item["done"]["S"].as_str().unwrap_or_default();
                let first = item["first"]["S"].as_str().unwrap_or_default();
                if before.as_str() > done && before.as_str() >= first {
                    item["done"] = json!({ "S": before });
                }
            }
            Plant::JourneyForgotten if operation == "Query" && queried.starts_with("J#") => {
                if let Some(items) = answer["Items"].as_array_mut() {
                    items.clear();
                }
            }
            Plant::LastPageSkipped
                if operation == "Query"
                    && (queried.starts_with("B#") || queried.starts_with("E#")) =>
            {
                if let Some(answer) = answer.as_object_mut() {
                    answer.remove("LastEvaluatedKey");
                }
            }
            Plant::ListedOnce
                if operation == "UpdateItem"
                    && pk(request).starts_with("RUN#")
                    && answer["Attributes"]["gates_closed_at"].is_object() =>
            {
                answer["Attributes"]["gates_closed_at"] = json!({"S": "2026-01-01T00:00:00Z"});
            }
            Plant::TermsOfToday
                if operation == "GetItem"
                    && pk(request).starts_with("program#")
                    && answer["Item"]["since"].is_object() =>
            {
                answer["Item"]["since"] = json!({"S": "2026-01-01T00:00:00Z"});
            }
            Plant::HoldForgotten => {
                let items = answer["Items"].as_array_mut().into_iter().flatten();
                let items: Vec<&mut Value> = items.collect();
                for item in items {
                    forget_hold(item);
                }
                forget_hold(&mut answer["Item"]);
            }
            Plant::ConflictAsRefusal => {
                for reason in answer["CancellationReasons"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                {
                    if reason["Code"] == "TransactionConflict" {
                        reason["Code"] = json!("ConditionalCheckFailed");
                    }
                }
            }
            _ => {}
        }
    }
}

/// A day by its number since 1970.
fn day(number: i64) -> String {
    let first = jiff::civil::date(1970, 1, 1);
    let day = first.checked_add(jiff::Span::new().days(number));
    day.map(|day| day.to_string()).unwrap_or_default()
}

/// A member that asks nothing, in the place of one that writes.
fn nothing_asked(at: &Value) -> Value {
    json!({
        "TableName": at["TableName"], "Key": {"pk": {"S": pk(at)}, "sk": {"S": sk(at)}},
        "ConditionExpression": "attribute_exists(pk) OR attribute_not_exists(pk)",
    })
}

/// The lines and buckets of a reversal, of another day; nothing else, and not where they are of two days.
fn take_back_on(list: &mut [Value], today: &str) {
    let lines: Vec<&Value> = list
        .iter()
        .map(|member| &inner(member)["Item"]["kind"]["S"])
        .filter(|kind| kind.is_string())
        .collect();
    let days: BTreeSet<String> = list
        .iter()
        .filter(|member| pk(inner(member)).starts_with("B#"))
        .map(|member| pk(inner(member))[..12].to_owned())
        .collect();
    if lines.is_empty() || lines.iter().any(|kind| **kind != "reversed") || days.len() > 1 {
        return;
    }
    for member in list {
        let at = inner_mut(member);
        let place = if at["Item"].is_object() {
            "Item"
        } else {
            "Key"
        };
        let (own_pk, own_sk) = (pk(at).to_owned(), sk(at).to_owned());
        if let Some(rest) = own_pk.strip_prefix("B#") {
            let shard = rest.split_once('#').map_or("", |(_, shard)| shard);
            at[place]["pk"] = json!({"S": format!("B#{today}#{shard}")});
        } else if own_pk.starts_with("E#") {
            let rest = own_sk.split_once('#').map_or("", |(_, rest)| rest);
            at["Item"]["sk"] = json!({"S": format!("{today}#{rest}")});
            at["Item"]["day"] = json!({"S": today});
        }
    }
}

/// The next of a row of numbers that look like chance.
fn next(number: u64) -> u64 {
    number
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1)
}

fn kind(member: &Value) -> &str {
    let mut names = member.as_object().into_iter().flatten();
    names.next().map_or("", |(name, _)| name)
}

fn inner(member: &Value) -> &Value {
    let mut parts = member.as_object().into_iter().flatten();
    parts.next().map_or(member, |(_, inner)| inner)
}

fn inner_mut(member: &mut Value) -> &mut Value {
    let name = kind(member).to_owned();
    &mut member[name]
}

fn part<'a>(at: &'a Value, name: &str) -> &'a str {
    let of_item = at["Item"][name]["S"].as_str();
    of_item
        .or_else(|| at["Key"][name]["S"].as_str())
        .unwrap_or_default()
}

fn pk(at: &Value) -> &str {
    part(at, "pk")
}

fn sk(at: &Value) -> &str {
    part(at, "sk")
}

/// The partition that a query lists.
fn queried(request: &Value) -> &str {
    let pk = request["ExpressionAttributeValues"][":pk"]["S"].as_str();
    pk.unwrap_or_default()
}

fn expression(at: &Value) -> &str {
    at["UpdateExpression"].as_str().unwrap_or_default()
}

/// Whether an order is credited by a person's word.
fn is_given(at: &Value) -> bool {
    let why = at["Item"]["why"]["S"].as_str().unwrap_or_default();
    [r#""decided_by":"claim""#, r#""decided_by":"person""#]
        .iter()
        .any(|word| why.contains(word))
}

/// Whether what a transaction makes in a partition may be missed by a list for a while.
fn is_listed_late(pk: &str) -> bool {
    ["B#", "CHANGES#", "affiliate#"]
        .iter()
        .any(|name| pk.starts_with(name))
}

/// No program holds anything.
fn forget_hold(item: &mut Value) {
    let text = item["doc"]["S"].as_str().unwrap_or_default();
    let Ok(mut program) = serde_json::from_str::<Value>(text) else {
        return;
    };
    if program["hold_days"].is_number() {
        program["hold_days"] = json!(0);
        item["doc"]["S"] = json!(program.to_string());
    }
}

fn is_note(at: &Value) -> bool {
    pk(at).starts_with("N#") || sk(at).starts_with('!') && pk(at).starts_with("A#")
}

/// The condition, or this one.
fn or(at: &mut Value, other: &str) {
    let condition = at["ConditionExpression"].as_str().unwrap_or_default();
    at["ConditionExpression"] = json!(format!("({condition}) OR {other}"));
}

/// No condition any more; what it names is still used.
fn always(at: &mut Value) {
    or(at, "attribute_exists(pk) OR attribute_not_exists(pk)");
}

/// What a reversal takes back of each commission, by its own part of the order alone.
fn round_naively(list: &mut [Value]) {
    let number = |value: &Value| -> Option<i64> { value["N"].as_str()?.parse().ok() };
    let part = list.iter().find_map(|member| {
        let item = &inner(member)["Item"];
        item["sk"]["S"]
            .as_str()?
            .contains("#R#")
            .then(|| number(&item["amount"]))?
    });
    let order = list.iter().find_map(|member| {
        let item = &inner(member)["Item"];
        let credits: Value = serde_json::from_str(item["credits"]["S"].as_str()?).ok()?;
        Some((number(&item["amount"])?, credits[0]["commission"].as_i64()?))
    });
    let (Some(part), Some((amount, commission))) = (part, order) else {
        return;
    };
    let naive = json!({"N": (-(commission * part / amount)).to_string()});
    for member in list {
        let at = inner_mut(member);
        let is_bucket = pk(at).starts_with("B#");
        if at["Item"]["kind"]["S"] == "reversed" {
            at["Item"]["effect"] = naive.clone();
        } else if is_bucket && expression(at).contains("reversed") {
            at["ExpressionAttributeValues"][":effect"] = naive.clone();
        } else if is_bucket && at["Item"]["reversed"].is_object() {
            at["Item"]["reversed"] = naive.clone();
        }
    }
}
