//! `paygate wrap`: guards a server until it is told to stop.

use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::{banner, dry_run, output};
use crate::app::{App, Load, Signals, Stopped};
use crate::config::{self, Config, Environment, WrapFlags};
use crate::model::bounds;

pub(super) fn run(flags: &WrapFlags) -> Result<(), String> {
    let (config, warnings) = config::load(flags, &Environment::read(), config::read_file)
        .map_err(|report| report.to_string())?;
    if !warnings.is_empty() {
        output::error(&warnings.to_string());
    }
    output::start_log(&config.log);
    let runtime =
        Builder::new_multi_thread().enable_all().build().map_err(|why| no_runtime(&why))?;
    let done = if flags.dry_run {
        runtime.block_on(dry(&config))
    } else {
        runtime.block_on(guard(&config, load_again(flags)))
    };
    end(runtime);
    done
}

async fn dry(config: &Config) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|why| no_runtime(&why))?;
    tokio::select! {
        done = dry_run::run(config) => done,
        () = signals.next() => Err("paygate: told to stop before the tools were known".to_owned()),
    }
}

/// The same sources, read when it is called.
fn load_again(flags: &WrapFlags) -> Load {
    let flags = flags.clone();
    Arc::new(move || config::load(&flags, &Environment::read(), config::read_file))
}

async fn guard(config: &Config, load: Load) -> Result<(), String> {
    let mut signals = Signals::new().map_err(|why| no_runtime(&why))?;
    let pipes = config.serves.stdio().then(output::protocol);
    let app = tokio::select! {
        started = App::start(config, load, Environment::inherited(), pipes) => {
            started.map_err(|why| format!("paygate: {why}"))?
        }
        () = signals.next() => return Err("paygate: told to stop before it had started".to_owned()),
    };
    let banner = banner::text(config, app.about());
    if config.serves.stdio() {
        output::error(&banner);
    } else {
        output::print(&banner);
    }
    match app.run(&mut signals).await {
        Stopped::Drained | Stopped::CutOff => Ok(()),
        Stopped::Forced => {
            Err("paygate: stopped by force; calls in flight were not finished and are not charged"
                .to_owned())
        }
        Stopped::BooksNotClosed => Err(format!(
            "paygate: the disk did not take what was still to be written within {} s; check it, then start again: \
             that reads the books and checks them",
            bounds::CLOSE_BOOKS_WAIT.as_secs()
        )),
    }
}

fn no_runtime(why: &io::Error) -> String {
    format!("paygate: the system does not let it run: {why}")
}

/// Tasks that have not ended by now do not keep the process alive. The pause lets a server that was
/// only just being started be ended with all that it started itself.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(bounds::FORCED_STOP_WAIT);
}
