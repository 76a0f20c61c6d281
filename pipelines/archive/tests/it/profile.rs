//! A device is held to the profile of its model, and the archive says by which version.

use crate::rig::{NOW_US, Rig, key, quarantine, readings, samples, texts};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use std::time::Duration;
use wardline_archive::{ArchiveOptions, Table};
use wardline_proto::codes::status;
use wardline_proto::v1::{Body, DeviceAlarm};
use wardline_proto::{DeviceId, TenantId};
use wardline_store::bell::Matter;
use wardline_store::registry::{Change, Model, NewDevice};
use wardline_store::testing::ring;

/// An oximeter that declares oxygen saturation and nothing else.
pub(crate) fn oximeter(version: u32, low: u32) -> String {
    format!(
        r#"[profile]
model = "oxi"
version = {version}
maker = "acme"
display_name = "Oximeter"
[clock]
max_skew_s = 5
sync = "ntp"
[connection]
keep_alive_s = 30
reconnect_max_s = 60
offline_hours = 72
[[measurement]]
ref_id = "MDC_PULS_OXIM_SAT_O2"
mdc_code = 150456
kind = "numeric"
unit = "%"
interval_ms = 1000
tolerance_ms = 250
low = {low}
high = 100
"#
    )
}

pub(crate) const ECG: &str = r#"[[measurement]]
ref_id = "MDC_ECG_ELEC_POTL_II"
mdc_code = 131330
kind = "waveform"
unit = "mV"
interval_ms = 1000
tolerance_ms = 250
low = -4
high = 4
sample_rate_hz = 360
"#;

pub(crate) async fn register(rig: &Rig, version: i64, profile: String) {
    let change = Change::new("os:test@here", NOW_US);
    rig.store
        .register_device(&change, &NewDevice { model: "oxi".into(), ..NewDevice::bare(key()) })
        .await
        .unwrap();
    let model = Model {
        model: DeviceId::new("oxi").unwrap(),
        maker: TenantId::new("acme").unwrap(),
        display_name: "Oximeter".into(),
        profile,
        profile_version: version,
        created_at_us: 0,
    };
    rig.store.put_model(&change, &model).await.unwrap();
}

fn statuses(batches: &[arrow_array::RecordBatch]) -> Vec<u32> {
    batches.iter().flat_map(|b| b["status"].as_primitive::<UInt32Type>().values().to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_outside_the_declared_range_is_flagged_and_the_version_is_told() {
    let rig = Rig::new().await;
    register(&rig, 3, oximeter(3, 80)).await;
    rig.frame(1, &readings(&[97.0, 79.0]));
    rig.archive().await;
    let rows = rig.rows(Table::Numerics).await;
    assert_eq!(
        statuses(&rows),
        [0, status::IMPLAUSIBLE],
        "79 is plausible for the catalogue, not for the model"
    );
    assert_eq!(texts(&rows, "profile"), ["oxi/3", "oxi/3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_profile_does_not_declare_is_quarantined_with_the_reason() {
    let rig = Rig::new().await;
    register(&rig, 1, oximeter(1, 80)).await;
    rig.frame(1, &samples(NOW_US, &[1, 2, 3]));
    rig.frame(1, &readings(&[97.0]));
    let alarm = DeviceAlarm {
        condition_id: "spo2-low".into(),
        mdc_code: 196_670,
        kind: 1,
        priority: 3,
        phase: 1,
        at_us: NOW_US,
        ..DeviceAlarm::default()
    };
    rig.frame(1, &Body { alarms: vec![alarm], ..Body::default() });
    rig.archive().await;
    let codes: Vec<_> = quarantine(&rig).await.into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["WL-Q-009"]);
    let rows = rig.rows(Table::Quarantine).await;
    assert_eq!(texts(&rows, "profile"), ["oxi/1"]);
    assert_eq!(rows[0]["detail"].as_string::<i32>().value(0), "131330 is not declared");
    assert_eq!((rig.count(Table::Waveforms).await, rig.count(Table::Numerics).await), (0, 1));
    assert_eq!(rig.count(Table::Alarms).await, 1, "an alarm is archived whatever a file declares");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_at_another_rate_is_quarantined_and_one_outside_its_range_is_flagged() {
    let rig = Rig::new().await;
    register(&rig, 1, oximeter(1, 80) + &ECG.replace("360", "250")).await;
    rig.frame(1, &samples(NOW_US, &[1024, 1025]));
    rig.archive().await;
    let rows = rig.rows(Table::Quarantine).await;
    let detail = rows[0]["detail"].as_string::<i32>().value(0);
    assert!(detail.contains("declared are 250 Hz"), "{detail}");
    register(&rig, 2, oximeter(2, 80) + ECG).await;
    rig.frame(2, &samples(NOW_US, &[1024, 1025]));
    rig.frame(3, &samples(NOW_US, &[1024, 9000]));
    rig.archive().await;
    assert_eq!(statuses(&rig.rows(Table::Waveforms).await), [0, status::IMPLAUSIBLE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_effect_while_the_archive_runs() {
    // By looking, and by being told.
    for (profile_poll, is_told) in [(Duration::ZERO, false), (Duration::from_secs(3600), true)] {
        let rig = Rig::new().await;
        register(&rig, 1, oximeter(1, 80)).await;
        let running = rig.run(ArchiveOptions { profile_poll, ..rig.options() });
        rig.frame(1, &readings(&[75.0]));
        running.handle.flush_to(rig.end()).await.unwrap();
        register(&rig, 2, oximeter(2, 70)).await;
        if is_told {
            ring(&rig.store, Matter::Profiles);
        }
        rig.frame(2, &readings(&[75.0]));
        running.finish(rig.end()).await.unwrap();
        let rows = rig.rows(Table::Numerics).await;
        assert_eq!(statuses(&rows), [status::IMPLAUSIBLE, 0], "told: {is_told}");
        assert_eq!(texts(&rows, "profile"), ["oxi/1", "oxi/2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_usable_profile_nothing_is_judged() {
    let rig = Rig::new().await;
    register(&rig, 1, "no profile at all".into()).await;
    rig.frame(1, &readings(&[79.0]));
    rig.archive().await;
    let rows = rig.rows(Table::Numerics).await;
    assert_eq!(statuses(&rows), [0]);
    assert_eq!(rows[0]["profile"].null_count(), 1);
}
