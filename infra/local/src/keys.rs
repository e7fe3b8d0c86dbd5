//! `clickledger keys`: the signing keys and the API keys of an installation on AWS.

use std::time::Duration;

use aws_sdk_dynamodb::error::BoxError;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::json;
use shared::app::random;
use shared::config::Aws;
use shared::http_types::{Fields, Invalid};
use shared::keys::KeyRing;
use shared::parameter::Parameter;
use shared::rights::{ApiKey, KeyText};
use shared::store::{Audit, Created, Store, Tables};

/// Functions know a changed parameter after so many seconds.
const KNOWN_AFTER: u64 = 60;

const EXAMPLES: &str = "\
The account is that of AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
AWS_ENDPOINT_URL_SSM and AWS_ENDPOINT_URL_DYNAMODB name other services than the region's own.

Examples:
  clickledger keys init --parameter /clickledger/keys
  clickledger keys create --role admin --person Pat --table TABLE
  clickledger keys create --role merchant --merchant shop --person Kim --table TABLE
  clickledger keys rotate --parameter /clickledger/keys
  clickledger keys revoke --parameter /clickledger/keys --key 1";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the parameter with a first signing key; one that exists is never overwritten
    #[command(after_help = EXAMPLES)]
    Init(Init),
    /// Make an API key, and print it on stdout this once
    #[command(after_help = EXAMPLES)]
    Create(Create),
    /// Sign with a new key; the others go on verifying
    #[command(after_help = EXAMPLES)]
    Rotate(Rotate),
    /// Let nothing count any more that a key signed: click ids, and merchants' signing secrets
    #[command(after_help = EXAMPLES)]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Init {
    /// Of the SSM SecureString: the template's KeysParameter
    #[arg(long, value_name = "NAME")]
    parameter: String,
    /// What the keys are for: click ids of one environment are forgeries in every other
    #[arg(long, value_name = "NAME", default_value = "prod")]
    environment: String,
}

#[derive(Debug, Args)]
struct Create {
    /// What its bearer may do
    #[arg(long, value_parser = ["admin", "finance", "merchant", "affiliate"])]
    role: String,
    /// The core table: the stack's output CoreTableName
    #[arg(long, value_name = "NAME")]
    table: String,
    /// Who bears it; whoever approves a month must be another person than who prepared it
    #[arg(long, value_name = "NAME", default_value = "operator")]
    person: String,
    /// Whose key it is, for the role merchant
    #[arg(long, value_name = "ID")]
    merchant: Option<String>,
    /// Whose key it is, for the role affiliate
    #[arg(long, value_name = "ID")]
    affiliate: Option<String>,
    /// To tell it from the person's other keys
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

#[derive(Debug, Args)]
struct Rotate {
    /// Of the SSM SecureString: the template's KeysParameter
    #[arg(long, value_name = "NAME")]
    parameter: String,
    /// How long the new key verifies before it signs, so that every warm function knows it
    #[arg(long, value_name = "SECONDS", default_value_t = KNOWN_AFTER)]
    wait: u64,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Of the SSM SecureString: the template's KeysParameter
    #[arg(long, value_name = "NAME")]
    parameter: String,
    /// The number of the key
    #[arg(long, value_name = "N")]
    key: u8,
}

/// Why no API key was made.
#[derive(Debug, thiserror::Error)]
enum NotCreated {
    #[error("`--{}` cannot be taken: {}", .0.field, .0.code)]
    Option(Invalid),
    #[error("the table `{0}` has no such {1}")]
    Stranger(String, String),
    #[error("a key of the same id exists; try again")]
    Exists,
}

/// # Errors
/// One line for the operator, with its causes.
pub async fn run(keys: &Keys, now: Timestamp) -> Result<(), BoxError> {
    let aws = Aws::from_environment()?;
    let parameter = |name: &str| Parameter::new(aws.ssm(), name);
    match &keys.command {
        Command::Init(asked) => init(&parameter(&asked.parameter), &asked.environment).await,
        Command::Create(asked) => create(&aws, asked, now).await,
        Command::Rotate(asked) => rotate(&parameter(&asked.parameter), asked.wait).await,
        Command::Revoke(asked) => revoke(&parameter(&asked.parameter), asked.key).await,
    }
}

async fn init(parameter: &Parameter, environment: &str) -> Result<(), BoxError> {
    let (ring, _) = KeyRing::generate(environment, random())?;
    parameter.create(&ring).await?;
    let name = parameter.name();
    println!("The parameter `{name}` now holds signing key 1 of the environment `{environment}`.");
    println!("Functions read it when they start. Next, the first admin's API key:");
    println!("  clickledger keys create --role admin --person YOUR_NAME --table CORE_TABLE");
    Ok(())
}

/// The key alone goes to stdout, so that a script can take it.
async fn create(aws: &Aws, asked: &Create, now: Timestamp) -> Result<(), BoxError> {
    let text = KeyText::new(&random());
    let key = api_key(asked, &text).map_err(NotCreated::Option)?;
    // OK because no set-up record lies in the ledger.
    let tables = Tables {
        core: asked.table.clone(),
        ledger: String::new(),
    };
    let store = Store::new(aws.dynamo(), tables);
    if !store.knows(&key.role).await? {
        return Err(NotCreated::Stranger(asked.table.clone(), asked.role.clone()).into());
    }
    let audit = Audit {
        key: "clickledger".to_owned(),
        person: "operator".to_owned(),
        what: "create key".to_owned(),
        reason: None,
    };
    if let Created::Exists(_) = store.create(&key, now, &audit).await? {
        return Err(NotCreated::Exists.into());
    }
    let (id, role, person) = (&key.id, &asked.role, &key.person);
    eprintln!("Key {id} of {person}, role {role}. It is shown this once:");
    println!("{}", text.text);
    Ok(())
}

fn api_key(asked: &Create, text: &KeyText) -> Result<ApiKey, Invalid> {
    let asked = json!({
        "role": asked.role,
        "person": asked.person,
        "merchant": asked.merchant,
        "affiliate": asked.affiliate,
        "name": asked.name,
    });
    ApiKey::asked_for(&mut Fields::from_object(asked)?, text)
}

/// In two steps, so that no function gets an id by a key that it does not know yet. Where the
/// first one was made already and the command then ended, only the second is left.
async fn rotate(parameter: &Parameter, wait: u64) -> Result<(), BoxError> {
    let ring = parameter.read().await?;
    let number = match ring.waiting_number() {
        Some(number) => number,
        None => {
            let extended = ring.extended(random())?;
            parameter.replace(&extended).await?;
            extended.newest_number()
        }
    };
    println!("Key {number} verifies; it will sign in {wait} s. If this ends before, run it again.");
    pass(wait).await;

    let ring = parameter.read().await?;
    let old = ring.signing_number();
    parameter.replace(&ring.signed_by(number)?).await?;
    println!("Key {number} signs now, in every function within {KNOWN_AFTER} s.");
    println!("What key {old} signed stays good until you revoke it.");
    Ok(())
}

async fn pass(seconds: u64) {
    let progress = ProgressBar::new(seconds);
    for _ in 0..seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        progress.inc(1);
    }
    progress.finish_and_clear();
}

async fn revoke(parameter: &Parameter, number: u8) -> Result<(), BoxError> {
    let ring = parameter.read().await?.revoked(number)?;
    parameter.replace(&ring).await?;
    println!("Key {number} is revoked: functions refuse what it signed within {KNOWN_AFTER} s.");
    Ok(())
}
