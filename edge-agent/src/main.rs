//! The `wardline-edge` command.

mod cli;
mod heap;

use anyhow::Context;
use clap::Parser;
use cli::{Cli, Command, Config, ConfigError, RunArgs, StatusArgs};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use wardline_edge::{Agent, AgentOptions, EdgeError, EdgeKind, is_ready, is_stopping, status};

/// The configuration is wrong (BSD `EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// Try again later (BSD `EX_TEMPFAIL`).
const EXIT_TEMPORARY: u8 = 75;

/// Threads that wait for files and names, started when needed.
const BLOCKING_THREADS_MAX: usize = 4;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Status(args) => print_status(&args),
        Command::Enrol(args) => match args.options() {
            Ok(options) => cli::run_enrol(options),
            Err(error) => {
                eprintln!("wardline-edge: {error}");
                return ExitCode::from(EXIT_USAGE);
            }
        },
        Command::Run(args) => match load(&args) {
            Ok(config) => {
                heap::keep_small();
                run(config.agent)
            }
            Err(errors) => {
                errors.iter().for_each(|error| eprintln!("wardline-edge: {error}"));
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wardline-edge: {error:#}");
            match error.downcast_ref::<EdgeError>().map(EdgeError::kind) {
                Some(EdgeKind::Retry) => ExitCode::from(EXIT_TEMPORARY),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn load(args: &RunArgs) -> Result<Config, Vec<ConfigError>> {
    let text =
        args.config.as_ref().map(std::fs::read_to_string).transpose().map_err(|error| {
            vec![ConfigError { source: "--config".to_owned(), problem: error.to_string() }]
        })?;
    Config::load(args, &std::env::vars().collect(), text.as_deref())
}

/// One thread, and few beside it for files and names: the agent shares a small machine with the device's own work.
fn run(options: AgentOptions) -> anyhow::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build()?.block_on(serve(options))
}

async fn serve(options: AgentOptions) -> anyhow::Result<()> {
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    let level = level.unwrap_or(tracing::Level::INFO);
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::stderr).init();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let agent = Agent::start(options).await?;
    is_ready();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = agent.failed() => tracing::error!("the spool has failed; nothing more can be made durable"),
    }
    is_stopping();
    agent.shutdown().await?;
    Ok(())
}

fn print_status(args: &StatusArgs) -> anyhow::Result<()> {
    let status = status::read(&args.spool).context("no agent has reported in this spool folder")?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{status}");
    }
    Ok(())
}
