//! The redirect function on Lambda.

use std::process::ExitCode;

use redirect::Redirect;
use shared::app::{App, StartError};
use shared::config::Config;
use shared::lambda::Front;

fn main() -> ExitCode {
    shared::lambda::serve(
        async || {
            let front = Front::of(&Config::from_environment()?);
            let redirect = Redirect::new(App::from_environment().await?);
            redirect.warm().await;
            Ok::<_, StartError>((redirect, front))
        },
        async |(redirect, front): &(Redirect, Front), request, _| {
            redirect::handle(redirect, front.believed(request)).await
        },
    )
}
