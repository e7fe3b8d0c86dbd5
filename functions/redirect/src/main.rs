//! The redirect function on Lambda.

use std::process::ExitCode;

use redirect::Redirect;
use shared::app::{App, StartError};
use shared::config::Config;
use shared::lambda::Front;

fn main() -> ExitCode {
    shared::lambda::serve(
        async || {
            let config = Config::from_environment()?;
            let front = Front::of(&config);
            let redirect = Redirect::new(App::started(config).await?);
            redirect.warm().await;
            Ok::<_, StartError>((redirect, front))
        },
        async |(redirect, front): &(Redirect, Front), request, _| {
            redirect::handle(redirect, front.believed(request)).await
        },
    )
}
