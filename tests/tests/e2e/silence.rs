//! How late missing data is noticed, over restarts and kills between the last reading and the time that it was due.

use crate::frames::{frame, heart_rate, now_us};
use crate::process::eventually;
use crate::stand::Stand;
use crate::ward::{Downs, Subscriber, devices, number, runtime};
use anyhow::{Context, ensure};
use std::time::Duration;
use wardline_proto::v1::{AlarmPhase, AlertEvent};

const EPOCH: u64 = 1_790_000_000_000_000;
const DUE_US: i64 = 4_000_000;
const LATE_US_MAX: i64 = 1_000_000;
/// How much later a tier may notice it: for two seconds a record may be on its way from a front's log, and whether the
/// bus has more is asked first.
const ON_ITS_WAY_US: i64 = 3_000_000;
const RULES: &str = r#"
version = 1
[[missing]]
id = "hr-missing"
metric = "MDC_ECG_HEART_RATE"
mdc_code = 147842
expect_every_s = 1
grace_s = 3
priority = "medium"
source = "test"
"#;

/// An alarm of missing data: when it was due, when it was stored.
struct Told {
    due_us: i64,
    stored_us: i64,
}

#[test]
fn silence_is_noticed_in_time_over_restarts_and_kills() -> anyhow::Result<()> {
    let count = number("WARDLINE_SILENT_DEVICES", 80);
    let folder = tempfile::tempdir()?;
    let rules = folder.path().join("rules.toml");
    std::fs::write(&rules, RULES)?;
    let (mut stand, runtime) =
        (Stand::with(&format!("[alert]\nrules = {:?}\n", rules.display().to_string()))?, runtime()?);
    let ward = stand.service("ward-7")?;
    let senders = runtime.block_on(devices(&stand, count))?;
    stand.start()?;
    let subscriber = Subscriber::start(&runtime, stand.grpc, ward);
    // Six processes take longer to be killed and started than one: what is left of the time must mean something.
    let pace = if stand.nodes() > 1 { 4 } else { 1 };
    let step = Duration::from_secs(10) * pace / count as u32;
    for (mut sender, index) in senders.into_iter().zip(0..) {
        runtime.spawn(async move {
            tokio::time::sleep(step * index).await;
            // One reading, then never another.
            sender.deliver(&frame(EPOCH, 1, &heart_rate(now_us(), &[80.0]))).await
        });
    }
    let mut downs = Downs::default();
    let seconds = |seconds| Duration::from_secs_f64(seconds) * pace;
    std::thread::sleep(seconds(2.0));
    downs.restart(&mut stand, Stand::kill, Duration::ZERO)?;
    std::thread::sleep(seconds(1.5));
    downs.restart(&mut stand, Stand::stop, Duration::ZERO)?;
    std::thread::sleep(seconds(1.0));
    downs.restart(&mut stand, Stand::kill, seconds(1.5))?;
    let told = eventually("all silence is noticed", Duration::from_secs(30) * pace, || {
        let heard = subscriber.heard("hr-missing");
        Ok(Some(heard).filter(|heard| heard.len() >= count))
    })?;
    let told = told.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let was_down = |t: &&Told| downs.within_us(t.due_us, t.due_us + 1) > 0;
    let (down, up): (Vec<_>, Vec<_>) = told.iter().partition(was_down);
    let late = |t: &&Told| t.stored_us - t.due_us - downs.within_us(t.due_us, t.stored_us);
    println!(
        "missing data of {count} devices, over two kills and a restart between the last reading and the alarm:"
    );
    println!("  due while the gateway ran: {}", spread(up.iter().map(late).collect()));
    println!("  due while it was down, from its being back: {}", spread(down.iter().map(late).collect()));
    println!(
        "  the same, from when it was due: {}",
        spread(down.iter().map(|t| t.stored_us - t.due_us).collect())
    );
    ensure!(told.len() == count, "{} alarms of {count} devices", told.len());
    ensure!(up.len() >= count / 10 && down.len() >= count / 10, "{} up, {} down", up.len(), down.len());
    let worst = told.iter().map(|t| late(&t)).max().unwrap_or(0);
    let late_us_max = LATE_US_MAX + if stand.nodes() > 1 { ON_ITS_WAY_US } else { 0 };
    ensure!(worst <= late_us_max, "noticed {worst} us late");
    stand.stop()
}

fn read(event: &AlertEvent) -> anyhow::Result<Told> {
    let alert = event.alert.as_ref().context("an alert")?;
    ensure!(event.phase() == AlarmPhase::Start && event.reason == "data_missing", "{event:?}");
    ensure!(event.at_us == alert.onset_us + DUE_US, "due {} us after the last reading", event.at_us);
    ensure!(event.stored_at_us >= event.at_us, "told before it was due");
    Ok(Told { due_us: event.at_us, stored_us: event.stored_at_us })
}

fn spread(mut late_us: Vec<i64>) -> String {
    late_us.sort_unstable();
    let at = |part: f64| {
        let index = (late_us.len() as f64 * part) as usize;
        late_us.get(index.min(late_us.len().saturating_sub(1))).copied().unwrap_or(0) as f64 / 1e3
    };
    format!(
        "{} alarms, late by p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        late_us.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
