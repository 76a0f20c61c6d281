//! Wardline's front beside Debian's mosquitto and rumqttd, on this machine, in one run.
//!
//! ```text
//! bench [throughput|crash|connections|revocation|alarms|subscribers|scale|all] [--quick] [--rounds N] ...
//! bench archive-size|archive-write|query [--patients N] ...
//! bench tier|scaling                                      (built with the feature cluster)
//! ```
//! One client drives every server with the same QoS 1 publishes over mutual TLS 1.3. Each server is a process of its
//! own; its CPU time is read from `/proc`. Progress goes to standard error, tables to standard output. Wardline is
//! durable and sealed in every run: an acknowledgement means synced to disk. The others keep messages in memory.

mod alarms;
mod archive;
mod connections;
mod crash;
mod disk;
mod lab;
mod options;
mod payload;
mod proc;
mod revocation;
mod scale;
mod server;
mod stats;
mod subscribers;
mod table;
mod throughput;
#[cfg(feature = "cluster")]
mod tier;

use clap::Parser;
use options::{Bench, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let bench = Bench::parse();
    match run(bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: Bench) -> anyhow::Result<()> {
    // One thread: the servers share the machine with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Command::Reference(reference) = &bench.command() {
        return runtime.block_on(server::reference::serve(reference));
    }
    if let Command::Scale(options) = &bench.command() {
        scale::run(options);
        return Ok(());
    }
    if cfg!(debug_assertions) {
        eprintln!("bench: not a release build; its numbers say nothing about the product");
    }
    match &bench.command() {
        Command::ArchiveSize(options) => runtime.block_on(archive::size(&bench.setup, options)),
        Command::ArchiveWrite(options) => runtime.block_on(archive::write(&bench.setup, options)),
        Command::Query(options) => runtime.block_on(archive::query(&bench.setup, options)),
        #[cfg(feature = "cluster")]
        Command::Tier(options) => runtime.block_on(tier::policies(options)),
        #[cfg(feature = "cluster")]
        Command::Scaling(options) => runtime.block_on(tier::scaling(options)),
        _ => runtime.block_on(measure(&bench)),
    }
}

async fn measure(bench: &Bench) -> anyhow::Result<()> {
    let command = bench.command();
    server::prepare(&bench.setup)?;
    let lab = lab::Lab::create(&bench.setup, lab::devices_needed(&command)).await?;
    println!("{}\n", lab.description());
    match &command {
        Command::Throughput(options) => throughput::run(&lab, options).await?,
        Command::Crash(options) => crash::run(&lab, options).await?,
        Command::Connections(options) => connections::run(&lab, options).await?,
        Command::All(options) => {
            throughput::run(&lab, &options.throughput).await?;
            crash::run(&lab, &options.crash).await?;
            connections::run(&lab, &options.connections).await?;
        }
        Command::Revocation(options) => revocation::run(&lab, options).await?,
        Command::Alarms(options) => alarms::run(&lab, options).await?,
        Command::Subscribers(options) => subscribers::run(&lab, options).await?,
        Command::ArchiveSize(_)
        | Command::ArchiveWrite(_)
        | Command::Query(_)
        | Command::Scale(_)
        | Command::Reference(_) => {}
        #[cfg(feature = "cluster")]
        Command::Tier(_) | Command::Scaling(_) => {}
    }
    Ok(())
}
