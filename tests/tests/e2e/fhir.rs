//! FHIR and HL7 v2 as others see them: other people's validators over every shape, the server over mTLS, an export
//! that outlives kills, and alerts in each form.

use crate::alerts;
use crate::archive::block_on;
use crate::process::{binary, eventually, run};
use crate::python;
use crate::query::Ward;
use crate::random::Random;
use crate::recordings;
use crate::records;
use crate::stand::{Stand, TENANT, free_ports};
use crate::strip;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use wardline::operate;
use wardline_archive::place::Place;
use wardline_archive::{ArchiveMetrics, ArchiveOptions, ArchiveService};
use wardline_fhir::alert::{Sender, detected_issue, pcd04};
use wardline_fhir::device::{Registered, device};
use wardline_fhir::observation::{Measured, Values, observation};
use wardline_fhir::outcome::{self, Hole};
use wardline_fhir::{bundle, capability};
use wardline_journal::{Class, DiskStorage, Journal, JournalOptions, Keyring, Record};
use wardline_proto::codes::{METRICS, MetricKind};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::journal_record::Kind;
use wardline_proto::v1::{
    AlarmKind, AlarmPhase, Alert, AlertEvent, AlertSignal, AlertState, JournalRecord, PayloadFormat,
    Priority, Publish,
};
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};

use wardline_store::registry::{Duties, Role, Sites};

/// Days of the archive whose export is killed, and frames and readings of each.
const DAYS: i64 = 40;
const FRAMES: i64 = 4;
const READINGS: usize = 50;
const DAY_US: i64 = 86_400_000_000;

/// Returns where npm packages of the tests are. Missing is an error, never a skip.
fn node() -> anyhow::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let given = std::env::var_os("WARDLINE_NODE").map(PathBuf::from);
    let node = given
        .or_else(|| Some(cache?.join("wardline/node")))
        .context("neither WARDLINE_NODE nor HOME is set")?;
    ensure!(node.join("node_modules/@medplum/core").exists(), "no @medplum/core: tests/run installs it");
    Ok(node)
}

/// Observations of every metric and of every status bit, and with values that are none.
fn observations() -> Vec<Value> {
    let (samples, gaps) = ((0..250).collect::<Vec<i32>>(), [(3_u32, 2_u32), (249, 1)]);
    let of = |mdc_code: u32, status: u32, value: Option<f64>, subject: Option<&str>| {
        let metric = METRICS.iter().find(|metric| metric.mdc_code == mdc_code);
        let block = Values::Samples {
            interval_ns: 4_000_000,
            samples: &samples,
            scale: 0.005,
            offset: 7.0,
            gaps: &gaps,
        };
        observation(&Measured {
            id: "a.b-c",
            device: "monU1",
            subject,
            mdc_code,
            mdc_ref_id: metric.map_or("", |metric| metric.ref_id),
            ucum_unit: metric.map_or("", |metric| metric.ucum_unit),
            status,
            effective_us: 1_792_300_000_123_456,
            issued_us: 1_792_300_001_000_000,
            is_masked: subject.is_none(),
            value: value.map_or(block, Values::Number),
        })
    };
    let each =
        METRICS.iter().map(|m| of(m.mdc_code, 0, (m.kind == MetricKind::Numeric).then_some(1e-7), Some("s")));
    let bits = (0..32)
        .flat_map(|bit| [of(150_456, 1 << bit, Some(97.0), Some("s")), of(131_330, 1 << bit, None, None)]);
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300, f64::MIN_POSITIVE];
    each.chain(bits).chain(odd.map(|value| of(147_842, !7, Some(value), None))).collect()
}

/// Events of one alert in every state, of every kind, priority and phase.
fn events() -> Vec<AlertEvent> {
    use AlarmPhase::{Continue, Deescalate, End, Escalate, Start, Update};
    let states = [
        AlertState::Present,
        AlertState::Acknowledged,
        AlertState::Paused,
        AlertState::Latched,
        AlertState::Ended,
    ];
    let kinds = [AlarmKind::Physiological, AlarmKind::Technical, AlarmKind::Advisory];
    let priorities = [Priority::High, Priority::Medium, Priority::Low, Priority::Unspecified];
    let event = |n: usize, phase: AlarmPhase| {
        let state = states[n % states.len()];
        let at_us = 1_792_300_000_000_000 + n as i64;
        let is_over = matches!(state, AlertState::Ended | AlertState::Latched);
        let signal = AlertSignal {
            acknowledged_by: if state == AlertState::Acknowledged {
                "spiffe://x/tenant/demo/user/ann".into()
            } else {
                String::new()
            },
            acknowledged_at_us: at_us,
            paused_by: if state == AlertState::Paused {
                "spiffe://x/tenant/demo/user/bob".into()
            } else {
                String::new()
            },
            paused_until_us: at_us + 120_000_000,
            escalations: 1,
            ..AlertSignal::default()
        };
        let of_system = n % 7 == 6;
        let alert = Alert {
            alert_id: "0123456789abcdef".repeat(4),
            tenant: "demo".into(),
            device: if of_system { String::new() } else { "mon_1".into() },
            rule_id: "spo2|low^1".into(),
            kind: kinds[n % kinds.len()].into(),
            priority: priorities[n % priorities.len()].into(),
            state: state.into(),
            mdc_code: if of_system { 0 } else { 150_456 },
            mdc_ref_id: if of_system { String::new() } else { "MDC_PULS_OXIM_SAT_O2".into() },
            ucum_unit: "%".into(),
            value: (!of_system).then_some(84.5),
            limit: (!n.is_multiple_of(3)).then_some(90.0),
            onset_us: at_us,
            ended_us: if is_over { at_us + 1 } else { 0 },
            site: if n.is_multiple_of(2) { "icu&1".into() } else { String::new() },
            detail: "ward icu\r1".into(),
            signal: Some(signal),
            ..Alert::default()
        };
        AlertEvent {
            cursor: n as u64 + 1,
            phase: phase.into(),
            at_us,
            stored_at_us: at_us,
            alert: Some(alert),
            ..AlertEvent::default()
        }
    };
    let phases = [Start, Continue, Update, Escalate, Deescalate, End];
    (0..60).map(|n| event(n, phases[n % phases.len()])).collect()
}

#[test]
fn every_shape_is_taken_by_two_validators_which_refuse_broken_ones() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let hole = |n| Hole {
        device: "mon-1".into(),
        lane: "numerics".into(),
        hour_us: n,
        positions: Some((1, 2)),
        count: 2,
    };
    let known = Registered { id: "mon-1", name: "mon-1", is_active: true, ..Registered::default() };
    let whole = Registered {
        model: "wd-200",
        maker: "acme",
        serial_number: "7",
        udi: "(01)1",
        site: "icu",
        registered_us: 5,
        ..known.clone()
    };
    let mut shapes = observations();
    shapes.extend([device(&known), device(&whole), outcome::completeness(&[], None)]);
    shapes.push(outcome::completeness(&(0..200).map(hole).collect::<Vec<_>>(), Some("a reason")));
    shapes.push(outcome::failed(outcome::Kind::Invalid, Refusal::FhirParameter, "a text"));
    shapes.push(capability::statement("https://localhost:8445", "0.1.0"));
    let page = |resources, outcome| bundle::Page {
        base: "https://localhost".into(),
        itself: "Observation?".into(),
        next: None,
        resources,
        outcome,
    };
    shapes.push(bundle::searchset(page(shapes[..1].to_vec(), Some(outcome::completeness(&[], None)))));
    shapes.push(bundle::searchset(bundle::Page {
        next: Some("Observation?_cursor=a".into()),
        ..page(Vec::new(), None)
    }));
    let events = events();
    shapes.extend(events.iter().map(detected_issue));
    let file = folder.path().join("shapes.ndjson");
    std::fs::write(&file, shapes.iter().map(|shape| format!("{shape}\n")).collect::<String>())?;
    let mut validators = python::script("tests/python/fhir_shapes.py", None)?;
    println!("{}", run(validators.arg("--file").arg(&file).arg("--node").arg(node()?))?);

    let sender = Sender {
        application: "Ward|line".into(),
        facility: "demo".into(),
        to_application: String::new(),
        to_facility: String::new(),
    };
    let file = folder.path().join("alerts.hl7");
    std::fs::write(
        &file,
        events.iter().map(|event| format!("{}\n", pcd04(event, &sender))).collect::<String>(),
    )?;
    println!("{}", run(python::script("tests/python/pcd04.py", None)?.arg("--file").arg(&file))?);
    Ok(())
}

#[test]
fn fhir_gives_the_numbers_of_sql_by_role_and_exports_all_of_them() -> anyhow::Result<()> {
    let mut ward = Ward::new()?;
    let (mut server, _flight) = ward.serve()?;
    let mut script = python::script("tests/python/fhir_server.py", None)?;
    script.arg("--data-dir").arg(ward.stand.data()).arg("--certs").arg(ward.stand.path("people"));
    script.args(["--port", &ward.fhir.to_string(), "--tenant", TENANT, "--subject", crate::query::SUBJECT]);
    script.arg("--binary").arg(binary("wardline-query")?).arg("--node").arg(node()?);
    println!("{}", run(&mut script).map_err(|error| error.context(server.tail()))?);
    server.stop(crate::query::WAIT)?;
    ward.stand.stop()?;
    ward.stand.verify()
}

/// Archives readings of many days in a data folder that no gateway runs on.
async fn archive(data: &Path) -> anyhow::Result<()> {
    let keyring = Arc::new(Keyring::create_or_open(&data.join("keyring.json"))?);
    let journal = data.join("journal");
    let storage = Arc::new(DiskStorage::new(journal.clone()));
    let journal = Journal::open(JournalOptions::for_dir(journal), storage, keyring.clone())?;
    let place = Place::of(data)?;
    let store = place.store().open().await?;
    let options =
        ArchiveOptions { bucket: place.bucket().cloned(), ..ArchiveOptions::for_dir(data.join("archive")) };
    let service = ArchiveService::new(
        options,
        journal.clone(),
        store.clone(),
        keyring,
        Arc::new(ArchiveMetrics::default()),
    );
    let (handle, (stop, stopped)) = (service.handle(), tokio::sync::watch::channel(false));
    let worker = tokio::spawn(service.run(stopped));
    let device = DeviceKey { tenant: TenantId::new(TENANT)?, device: DeviceId::new("mon-1")? };
    let first_us = crate::frames::now_us() - (DAYS + 1) * DAY_US;
    let mut end = journal.durable_end();
    for frame in 0..DAYS * FRAMES {
        let at_us = first_us + frame / FRAMES * DAY_US + frame % FRAMES;
        let readings: Vec<String> = (0..READINGS)
            .map(|n| format!("{{\"code\":150456,\"value\":{},\"unit\":\"%\"}}", 50 + n))
            .collect();
        let publish = Publish {
            tenant: TENANT.into(),
            device: "mon-1".into(),
            payload: format!("{{\"readings\":[{}]}}", readings.join(",")).into_bytes().into(),
            content: PayloadFormat::Json.into(),
            ..Publish::default()
        };
        let record = JournalRecord { ingested_at_us: at_us, kind: Some(Kind::Publish(publish)) };
        let payload = prost::Message::encode_to_vec(&record).into();
        let record = Record { partition: device.partition(), class: Class::Telemetry, payload };
        end = journal.append(record)?.offset().next();
    }
    handle.flush_to(end).await?;
    stop.send_replace(true);
    worker.await??;
    store.close().await;
    Ok(())
}

#[test]
fn a_bulk_export_outlives_kills_and_has_each_row_once() -> anyhow::Result<()> {
    let stand = Stand::new()?;
    let seed = Random::seeded("a bulk export outlives kills").millis(0, 1_000_000).as_millis();
    block_on(async {
        archive(&stand.data()).await?;
        let clinician = Identity::User { tenant: TenantId::new(TENANT)?, name: DeviceId::new("clinician")? };
        let certs = stand.path("people").join("clinician");
        let duties = Duties::at(&[Role::Clinician], Sites::All);
        operate::issue_principal(&stand.data(), clinician, duties, &certs).await?;
        anyhow::Ok(())
    })?;
    let mut script: Command = python::script("tests/python/fhir_kill.py", None)?;
    script.arg("--data-dir").arg(stand.data()).arg("--certs").arg(stand.path("people"));
    let rows = DAYS as usize * FRAMES as usize * READINGS;
    script.args(["--rows", &rows.to_string(), "--seed", &seed.to_string()]);
    script.args(["--records", &(DAYS * FRAMES).to_string()]);
    println!("{}", run(script.arg("--binary").arg(binary("wardline-query")?))?);
    Ok(())
}

#[test]
fn recordings_are_given_back_and_what_of_them_was_lost_is_said() -> anyhow::Result<()> {
    let Some(folder) = records::folder("recordings_are_given_back") else { return Ok(()) };
    let header = folder.join("3975656n.hea");
    let expected = recordings::present(&records::read(&header)?)?.len();
    let signal = records::read(&folder.join("100.hea"))?.signals.remove(0);
    let mut ward = Ward { stand: Stand::new()?, fhir: free_ports::<1>()?[0] };
    let _agent = recordings::replay(&mut ward.stand, &header)?;
    let device = ward.stand.device("mon-2")?;
    strip::play(&ward.stand, ("mon-2", &device), &signal.samples, crate::frames::now_us() - 60_000_000)?;
    block_on(async {
        for (name, role) in [("clinician", Role::Clinician), ("analyst", Role::Analyst)] {
            let identity = Identity::User { tenant: TenantId::new(TENANT)?, name: DeviceId::new(name)? };
            let (duties, certs) = (Duties::at(&[role], Sites::All), ward.stand.path("people").join(name));
            operate::issue_principal(&ward.stand.data(), identity, duties, &certs).await?;
        }
        anyhow::Ok(())
    })?;
    eventually("every reading is archived", recordings::ARCHIVE, || {
        let found = ward.stand.rows("numerics")?;
        ensure!(found >= expected as u64, "{found} of {expected} readings");
        Ok(Some(()))
    })?;
    let raw = ward.stand.path("samples.json");
    std::fs::write(&raw, serde_json::to_string(&signal.samples[..strip::PLAYED * strip::HERTZ])?)?;
    let (mut server, _flight) = ward.serve()?;
    let mut script = python::script("tests/python/fhir_recordings.py", None)?;
    script.arg("--certs").arg(ward.stand.path("people")).args(["--port", &ward.fhir.to_string()]);
    script.args(["--readings", &expected.to_string(), "--lost", &strip::LOST.to_string()]);
    script.arg("--samples").arg(&raw).arg("--node").arg(node()?);
    println!("{}", run(&mut script).map_err(|error| error.context(server.tail()))?);
    server.stop(crate::query::WAIT)?;
    ward.stand.stop()
}

#[test]
fn alerts_are_the_same_in_every_form() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let (device, ward) = (stand.device("mon-1")?, stand.service("ward-7")?);
    stand.start()?;
    alerts::raise(&stand, &device, 0, 4)?;
    let folder = stand.path("forms");
    std::fs::create_dir(&folder)?;
    let export = |form: &str, more: &[&str]| {
        let mut command = stand.offline(&["alerts", "export", "--format", form])?;
        command.args(["--server", &format!("https://localhost:{}", stand.grpc), "--certs"]).arg(&ward);
        run(command.args(more))
    };
    eventually("four events are stored", crate::query::WAIT, || {
        Ok((export("json", &[])?.lines().count() >= 4).then_some(()))
    })?;
    for form in ["json", "fhir", "fhir-r6", "pcd04"] {
        export(form, &["--out", &folder.join(form).display().to_string()])?;
    }
    ensure!(export("json", &["--since", "2100-01-01T00:00:00Z"])?.is_empty(), "nothing is of a later time");
    let mut script = python::script("tests/python/alert_formats.py", None)?;
    script.arg("--folder").arg(&folder).arg("--node").arg(node()?);
    println!("{}", run(script.arg("--schema").arg(python::root()?.join("docs/alert-event.schema.json")))?);
    println!(
        "{}",
        run(python::script("tests/python/pcd04.py", None)?.arg("--file").arg(folder.join("pcd04")))?
    );
    stand.stop()
}
