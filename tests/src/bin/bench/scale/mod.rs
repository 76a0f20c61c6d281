//! Past these machines: how many nodes a number of devices takes, how its devices come back, and what a month of
//! failures does to them. A model, seeded; the figures it starts from are measured ones, and each is an option.

mod faults;
mod figures;
mod plan;
mod reconnect;

use crate::table::{Table, number};
use clap::Args;
use faults::Month;
use figures::Figures;
use plan::Plan;

/// Options of `scale`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scale {
    /// Numbers of devices.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000])]
    devices: Vec<usize>,
    /// Days of failures.
    #[arg(long, default_value_t = 30.0)]
    days: f64,
    /// How often those days are run; averages are printed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Decides every random moment.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    figures: Figures,
}

/// Prints the tables.
pub(crate) fn run(options: &Scale) {
    let plans: Vec<Plan> = options.devices.iter().map(|&n| Plan::new(&options.figures, n)).collect();
    println!("{}", nodes(&options.figures, &plans));
    println!("{}", returns(options, &plans));
    println!("{}", months(options, &plans));
}

fn nodes(figures: &Figures, plans: &[Plan]) -> String {
    let header = [
        "devices",
        "frames/s",
        "fronts",
        "workers",
        "partitions",
        "front cores",
        "worker cores",
        "cores/1,000 devices",
        "sessions GiB/front",
        "archive GB/day",
        "log full after h",
    ];
    let mut table = Table::new(0, &header);
    for plan in plans {
        let frames = plan.frames(figures);
        let (fronts, workers) = plan.busy(figures);
        let sessions = plan.devices as f64 / plan.fronts as f64;
        let log = figures.log_gib * 1024.0_f64.powi(3) * plan.fronts as f64;
        table.row(vec![
            plan.devices.to_string(),
            number(frames),
            plan.fronts.to_string(),
            plan.workers.to_string(),
            plan.partitions.to_string(),
            number(fronts),
            number(workers),
            number((fronts + workers) / plan.devices as f64 * 1000.0),
            number(sessions * figures.session_kib / 1024.0 / 1024.0),
            number(frames * figures.archived_bytes * 86_400.0 / 1e9),
            number(log / (frames * figures.frame_bytes) / 3600.0),
        ]);
    }
    table.render()
}

/// Seconds until half, 99 of 100 and the last are back; attempts in vain.
fn returns(options: &Scale, plans: &[Plan]) -> String {
    let mut table = Table::new(
        2,
        &["devices", "lost", "sessions", "to fronts", "half s", "99 % s", "last s", "in vain per session"],
    );
    for plan in plans {
        let figures = &options.figures;
        let third = plan.fronts.div_ceil(3).min(plan.fronts - 1);
        let cases = [
            ("a front", plan.devices / plan.fronts, plan.fronts - 1),
            ("a third of the fronts", plan.devices * third / plan.fronts, plan.fronts - third),
            ("every session", plan.devices, plan.fronts),
        ];
        for (name, sessions, fronts) in cases {
            let each = plan.frames(figures) / fronts as f64;
            let spare = figures.cores - each * figures.front_us(each) / 1e6;
            let back = reconnect::simulate(figures, sessions, fronts, spare, options.seed);
            let [half, most, last] = back.after_s.map(number);
            let in_vain = number(back.in_vain as f64 / sessions.max(1) as f64);
            let (sessions, fronts) = (sessions.to_string(), fronts.to_string());
            table.row(vec![
                plan.devices.to_string(),
                name.to_owned(),
                sessions,
                fronts,
                half,
                most,
                last,
                in_vain,
            ]);
        }
    }
    table.render()
}

/// Averages over the runs; of what is a maximum, the greatest.
fn months(options: &Scale, plans: &[Plan]) -> String {
    let header = [
        "devices",
        "failures",
        "sessions lost/device",
        "alarms waited s/device",
        "on a dead disk s/device",
        "log used max %",
        "cores used max %",
    ];
    let mut table = Table::new(0, &header);
    for plan in plans {
        let runs: Vec<Month> = (0..options.runs)
            .map(|run| faults::simulate(&options.figures, plan, options.days, options.seed + run))
            .collect();
        let mean = |of: fn(&Month) -> f64| number(runs.iter().map(of).sum::<f64>() / runs.len() as f64);
        let greatest = |of: fn(&Month) -> f64| number(100.0 * runs.iter().map(of).fold(0.0, f64::max));
        let lost: f64 = runs.iter().map(|month| month.sessions_lost).sum();
        table.row(vec![
            plan.devices.to_string(),
            mean(|month| month.failures as f64),
            number(lost / runs.len() as f64 / plan.devices as f64),
            mean(|month| month.alarms_waited_s),
            mean(|month| month.on_a_dead_disk_s),
            greatest(|month| month.log_used_max),
            greatest(|month| month.cores_used_max),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        scale: Scale,
    }

    fn figures() -> Figures {
        Line::parse_from(["scale"]).scale.figures
    }

    #[test]
    fn more_devices_take_more_nodes_and_each_stays_within_its_headroom() {
        let figures = figures();
        let mut before = 0;
        for devices in [1_000, 30_000, 1_000_000] {
            let plan = Plan::new(&figures, devices);
            let (fronts, workers) = plan.busy(&figures);
            assert!(plan.fronts + plan.workers >= before && plan.partitions >= plan.workers);
            assert!(fronts / plan.fronts as f64 <= figures.cores * figures.headroom);
            // Also when one of them is gone.
            assert!(workers / (plan.workers - 1) as f64 <= figures.cores * figures.headroom + 1e-9);
            before = plan.fronts + plan.workers;
        }
    }

    #[test]
    fn everyone_comes_back_later_when_more_come_and_the_same_seed_says_the_same() {
        let figures = figures();
        let few = reconnect::simulate(&figures, 1_000, 2, 4.0, 7);
        let many = reconnect::simulate(&figures, 200_000, 2, 4.0, 7);
        assert!(few.in_vain == 0 && few.after_s[2] < 0.5, "{few:?}");
        assert!(many.in_vain > 0 && many.after_s[2] > 10.0 * few.after_s[2], "{many:?}");
        let again = reconnect::simulate(&figures, 200_000, 2, 4.0, 7);
        assert_eq!(format!("{many:?}"), format!("{again:?}"));
    }

    #[test]
    fn failures_cost_what_they_take() {
        let (mut figures, plan) = (figures(), Plan::new(&figures(), 100_000));
        let month = faults::simulate(&figures, &plan, 30.0, 3);
        figures.takeover_s *= 10.0;
        let slow = faults::simulate(&figures, &plan, 30.0, 3);
        assert!(month.failures > 0 && month.failures == slow.failures);
        assert!(slow.alarms_waited_s > month.alarms_waited_s);
        assert_eq!(slow.sessions_lost, month.sessions_lost);
    }
}
