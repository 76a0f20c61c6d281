//! The `firmware-sim` command.

mod cli;

use clap::Parser;
use cli::{Cli, Command};
use firmware_sim::{DeviceOptions, FleetOptions, run_device, run_fleet};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, shutdown) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            // Held until then: a sender that is gone means shutdown, too.
            let _ = stop.send(true);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        });
        match cli.command {
            Command::Device(args) => device(args.options(), shutdown).await,
            Command::Fleet(args) => fleet(args.json, args.options(), shutdown).await,
        }
    })
}

async fn device(options: DeviceOptions, shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (link, stats) = (options.link.clone(), options.stats.clone());
    tracing::info!(%link, device = options.device, "device started");
    let report = run_device(options, shutdown).await?;
    println!(
        "measured {} bodies ({} readings, {} samples), acknowledged {}, sent again {}, given up {}, connections {}",
        report.bodies,
        stats.readings.get(),
        stats.samples.get(),
        report.acked,
        stats.resent.get(),
        stats.dropped.get(),
        stats.connects.get(),
    );
    anyhow::ensure!(report.complete, "not everything was acknowledged in time");
    Ok(())
}

async fn fleet(json: bool, options: FleetOptions, shutdown: watch::Receiver<bool>) -> anyhow::Result<()> {
    let stats = options.stats.clone();
    let progress = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let connected = stats.connected.load(std::sync::atomic::Ordering::Relaxed);
            tracing::info!(connected, sent = stats.sent.get(), acked = stats.acked.get(), "fleet");
        }
    });
    let report = run_fleet(options, shutdown).await?;
    progress.abort();
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    anyhow::ensure!(report.unacked == 0, "{} frames were not acknowledged", report.unacked);
    Ok(())
}
