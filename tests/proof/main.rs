//! What takes a process of its own, real time or a real signal to prove: kills, overload, a silent table.

mod client;
mod kills;
mod overload;
mod records;
mod silence;
mod stack;
mod times;

use std::process::ExitCode;

use clap::Parser;

/// Each of them builds the binaries that it needs, in the profile that it was built in itself.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  proof kills --count 200        two hundred kills under load
  proof overload                 ten times the sustainable rate for two minutes
  proof silence                  a table that takes every connection and answers none, for a minute")]
enum Proof {
    /// Kill the stack again and again while it works: nothing acknowledged is lost, nothing doubled
    Kills(kills::Options),
    /// Send postbacks at ten times the rate that is answered: visitors go on, nothing is lost
    Overload(overload::Options),
    /// Let the table of the functions' own binaries fall silent: visitors go on, commissions stay
    Silence(silence::Options),
}

fn main() -> ExitCode {
    let proved = match Proof::parse() {
        Proof::Kills(options) => kills::prove(&options),
        Proof::Overload(options) => overload::prove(&options),
        Proof::Silence(options) => silence::prove(&options),
    };
    match proved {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("not proved: {why}");
            ExitCode::FAILURE
        }
    }
}
