//! What may happen to a call between the SDK and the engine, decided by a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::calls;
use super::engine::{Answer, Asked};

/// A kind of trouble. Only reads and writes of items meet any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Not applied; the SDK sees an I/O error.
    RequestLost,
    /// Applied; the SDK sees a timeout.
    AnswerLost,
    /// A write is applied and answered, and arrives once more 1 to 8 calls later.
    LateRepeat,
    /// Not applied; `ProvisionedThroughputExceededException`.
    Throttled,
    /// Not applied; a transaction is cancelled with `TransactionConflict` for its first member,
    /// a single write gets a `TransactionConflictException`. The engine never does this itself.
    Conflict,
    /// `InternalServerError`. As on AWS it says nothing about whether the call was applied: a
    /// coin decides.
    ServerError,
    /// The SDK sees a timeout; the write is applied 1 to 64 calls later.
    AppliedLater,
    /// The call waits between 1 ms and 200 s of the runtime's time before it is applied: a
    /// process that was paused, a connection that hung.
    Delayed,
    /// A read that did not ask for a consistent one is answered as it was before, or with
    /// nothing: what an index or a replica that lags may say.
    Stale,
    /// Not applied, and never answered: the connection is taken, and nothing comes back.
    Hang,
}

/// Which faults, and how often. The same seed and the same calls give the same faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    seed: u64,
    per_mille: BTreeMap<Fault, u16>,
    latency_ms: u64,
    cuts_pages: bool,
}

impl Faults {
    /// No trouble at all.
    pub fn none() -> Faults {
        Faults::default()
    }

    /// A seed, and no fault yet: it changes only the order in which waiting tasks go on.
    pub fn seeded(seed: u64) -> Faults {
        Faults {
            seed,
            ..Faults::default()
        }
    }

    /// Every call takes up to so many milliseconds of the runtime's time.
    pub fn with_latency(mut self, most_ms: u64) -> Faults {
        self.latency_ms = most_ms;
        self
    }

    /// The page of a query that asks for a consistent read may end anywhere: DynamoDB promises no
    /// length.
    pub fn with_short_pages(mut self) -> Faults {
        self.cuts_pages = true;
        self
    }

    /// All kinds that a caller without a deadline of its own outlives.
    pub const KINDS: [Fault; 9] = [
        Fault::RequestLost,
        Fault::AnswerLost,
        Fault::LateRepeat,
        Fault::Throttled,
        Fault::Conflict,
        Fault::ServerError,
        Fault::AppliedLater,
        Fault::Delayed,
        Fault::Stale,
    ];

    /// Adds a kind of fault that meets this many of a thousand calls.
    pub fn with(mut self, fault: Fault, per_mille: u16) -> Faults {
        self.per_mille.insert(fault, per_mille);
        self
    }
}

/// On which side of its effect a call is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The call is not applied.
    Before,
    /// The call is applied, and nobody learns of it.
    After,
}

/// Everything between the SDK and the engine.
#[derive(Default)]
pub(super) struct Network {
    calls: u64,
    faults: Faults,
    injected: BTreeMap<Fault, u64>,
    short_pages: u64,
    late: Vec<(u64, Asked)>,
    /// How long the call waits that is planned now.
    waits: Option<Duration>,
    cut: Option<(u64, Cut)>,
    down: bool,
}

/// What happens to one call.
pub(super) struct Plan {
    /// Repeats of earlier calls that arrive before it.
    pub repeats: Vec<Asked>,
    /// How often other tasks come first.
    pub yields: u64,
    pub wait: Option<Duration>,
    pub applied: bool,
    pub reply: Reply,
}

/// What the SDK gets to see.
pub(super) enum Reply {
    Engine,
    /// As the engine said before, or nothing.
    Stale,
    Lost,
    TimedOut,
    Never,
    Refused(Answer),
}

impl Network {
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub fn injected(&self) -> BTreeMap<Fault, u64> {
        self.injected.clone()
    }

    /// A page that was made shorter, and did not hold all.
    pub fn count_short_page(&mut self) {
        self.short_pages += 1;
    }

    pub fn short_pages(&self) -> u64 {
        self.short_pages
    }

    pub fn call_count(&self) -> u64 {
        self.calls
    }

    pub fn cut_at(&mut self, call: u64, when: Cut) {
        self.cut = Some((self.calls + call, when));
    }

    pub fn mend(&mut self) -> bool {
        self.cut = None;
        std::mem::take(&mut self.down)
    }

    pub fn next(&mut self, asked: &mut Asked) -> Plan {
        let number = self.calls;
        self.calls += 1;
        asked.page = self.page(asked);
        let (applied, reply) = match self.cut {
            _ if self.down => (false, Reply::Lost),
            Some((at, when)) if at <= number => {
                self.down = true;
                match when {
                    Cut::Before => (false, Reply::Lost),
                    Cut::After => (true, Reply::TimedOut),
                }
            }
            _ => self.trouble(number, asked),
        };
        let wait = self.waits.take().or_else(|| self.latency());
        Plan {
            repeats: if self.down {
                Vec::new()
            } else {
                self.due(number)
            },
            yields: 1 + self.extra_yields(),
            wait,
            applied,
            reply,
        }
    }

    /// Whether this read may be answered as before some day: so its answer is to be kept.
    pub fn is_lagging(&self, asked: &Asked) -> bool {
        self.faults.per_mille.contains_key(&Fault::Stale) && Fault::Stale.can_meet(asked)
    }

    fn trouble(&mut self, number: u64, asked: &Asked) -> (bool, Reply) {
        let Some(fault) = self.draw(asked) else {
            return (true, Reply::Engine);
        };
        *self.injected.entry(fault).or_default() += 1;
        match fault {
            Fault::RequestLost => (false, Reply::Lost),
            Fault::AnswerLost => (true, Reply::TimedOut),
            Fault::LateRepeat => {
                let due = number + 1 + self.random() % 8;
                self.late.push((due, asked.clone()));
                (true, Reply::Engine)
            }
            Fault::Throttled => (
                false,
                refused(400, "ProvisionedThroughputExceededException"),
            ),
            Fault::Conflict => (false, conflict(asked)),
            Fault::ServerError => (
                self.random().is_multiple_of(2),
                refused(500, "InternalServerError"),
            ),
            Fault::AppliedLater => {
                let due = number + 1 + self.random() % 64;
                self.late.push((due, asked.clone()));
                (false, Reply::TimedOut)
            }
            Fault::Delayed => {
                // As many short waits as long ones.
                let longest = [20, 2_000, 200_000][usize::try_from(self.random() % 3).unwrap_or(0)];
                self.waits = Some(Duration::from_millis(1 + self.random() % longest));
                (true, Reply::Engine)
            }
            Fault::Stale => (false, Reply::Stale),
            Fault::Hang => (false, Reply::Never),
        }
    }

    fn draw(&mut self, asked: &Asked) -> Option<Fault> {
        let chances = self.faults.per_mille.clone();
        let mut possible = chances
            .into_iter()
            .filter(|(fault, _)| fault.can_meet(asked));
        possible.find_map(|(fault, per_mille)| {
            (self.random() % 1000 < u64::from(per_mille)).then_some(fault)
        })
    }

    fn page(&mut self, asked: &Asked) -> Option<usize> {
        if !self.faults.cuts_pages || asked.operation != "Query" || !is_consistent(asked) {
            return None;
        }
        let longest = [3, 30][usize::from(self.random().is_multiple_of(2))];
        Some(1 + usize::try_from(self.random() % longest).unwrap_or(0))
    }

    /// All that is still on its way.
    pub fn late(&mut self) -> Vec<Asked> {
        let late = std::mem::take(&mut self.late);
        late.into_iter().map(|(_, asked)| asked).collect()
    }

    fn due(&mut self, number: u64) -> Vec<Asked> {
        let due = self.late.extract_if(.., |(due, _)| *due <= number);
        due.map(|(_, asked)| asked).collect()
    }

    fn latency(&mut self) -> Option<Duration> {
        let most = self.faults.latency_ms;
        (most > 0).then(|| Duration::from_millis(self.random() % (most + 1)))
    }

    fn extra_yields(&mut self) -> u64 {
        if self.faults == Faults::none() {
            return 0;
        }
        self.random() % 3
    }

    /// The next number of splitmix64.
    fn random(&mut self) -> u64 {
        self.faults.seed = self.faults.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.faults.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Fault {
    fn can_meet(self, asked: &Asked) -> bool {
        let operation = asked.operation;
        let one_write = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
        match self {
            Fault::Stale => matches!(operation, "GetItem" | "Query") && !is_consistent(asked),
            Fault::LateRepeat | Fault::AppliedLater => {
                one_write || matches!(operation, "TransactWriteItems" | "BatchWriteItem")
            }
            Fault::Conflict => {
                one_write || matches!(operation, "TransactWriteItems" | "TransactGetItems")
            }
            _ => calls::is_on_items(operation),
        }
    }
}

/// Whether a read asks for what is, not for what was. In a text of JSON nothing but a field
/// looks like this: a quote within a value is escaped.
fn is_consistent(asked: &Asked) -> bool {
    let body = std::str::from_utf8(&asked.body).unwrap_or_default();
    body.contains(r#""ConsistentRead":true"#)
}

fn refused(status: u16, code: &str) -> Reply {
    let body = json!({
        "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"),
        "message": "injected by the embedded table",
    });
    Reply::Refused(Answer {
        status,
        body: super::text(&body),
    })
}

fn conflict(asked: &Asked) -> Reply {
    if !asked.operation.starts_with("Transact") {
        return refused(400, "TransactionConflictException");
    }
    let reasons: Vec<Value> = calls::members(&super::tree(&asked.body))
        .enumerate()
        .map(|(index, _)| match index {
            0 => json!({
                "Code": "TransactionConflict",
                "Message": "Transaction is ongoing for the item",
            }),
            _ => json!({ "Code": "None" }),
        })
        .collect();
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "injected by the embedded table",
        "CancellationReasons": reasons,
    });
    Reply::Refused(Answer {
        status: 400,
        body: super::text(&body),
    })
}
