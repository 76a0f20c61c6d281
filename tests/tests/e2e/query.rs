//! The archive over Flight SQL: other people's driver, over mTLS, as each kind of caller; and the same numbers by every
//! road to the archive.

use crate::archive::block_on;
use crate::frames::{HEART_RATE, Publisher, frame, now_us, series};
use crate::process::{Process, binary, eventually, run};
use crate::python;
use crate::rows;
use crate::stand::{Stand, TENANT, free_ports};
use crate::tiered;
use anyhow::ensure;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use wardline::operate;
use wardline_proto::frame::delta_encode;
use wardline_proto::v1::{Body, Lane, WaveformBlock};
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};
use wardline_store::registry::{Change, Duties, NewBinding, NewDevice, Role, Sites};

const ELSEWHERE: &str = "elsewhere";
/// The ward of `mon-1`.
const ICU: &str = "icu";
pub(crate) const SUBJECT: &str = "subject-0815";
pub(crate) const WAIT: Duration = Duration::from_secs(60);
const SPO2: u32 = 150_456;
const ECG_II: u32 = 131_330;
/// Readings of a device and metric.
const READINGS: usize = 120;

/// A gateway that has archived what three devices of two tenants measured, one of them worn by somebody.
pub(crate) struct Ward {
    pub(crate) stand: Stand,
    /// Port of FHIR.
    pub(crate) fhir: u16,
}

impl Ward {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut stand = Stand::new()?;
        stand.start()?;
        let [fhir] = free_ports()?;
        let ward = Self { stand, fhir };
        let devices = [(TENANT, "mon-1"), (TENANT, "mon-2"), (ELSEWHERE, "mon-1")];
        block_on(async {
            let data = ward.stand.data();
            for (tenant, device) in devices {
                operate::issue_device(
                    &data,
                    &key(tenant, device)?,
                    &ward.certs(&format!("{tenant}-{device}")),
                )
                .await?;
            }
            let (icu, all) = (Sites::of([ICU])?, Sites::All);
            for (tenant, name, roles, sites) in [
                (TENANT, "clinician", &[Role::Clinician][..], all.clone()),
                (TENANT, "ward", &[Role::Clinician], icu),
                (TENANT, "nosite", &[Role::Clinician], Sites::default()),
                (TENANT, "analyst", &[Role::Analyst], Sites::default()),
                (TENANT, "auditor", &[Role::Auditor], Sites::default()),
                (TENANT, "operator", &[Role::Operator], Sites::default()),
                (TENANT, "tenant-admin", &[Role::TenantAdmin], Sites::default()),
                (TENANT, "maker", &[Role::Maker], Sites::default()),
                (TENANT, "norole", &[], Sites::default()),
                (TENANT, "leaver", &[Role::Clinician], all.clone()),
                (ELSEWHERE, "other-clinician", &[Role::Clinician], all),
            ] {
                let identity = Identity::User { tenant: TenantId::new(tenant)?, name: DeviceId::new(name)? };
                let duties = Duties::at(roles, sites);
                operate::issue_principal(&data, identity, duties, &ward.certs(name)).await?;
            }
            for (index, (tenant, device)) in devices.into_iter().enumerate() {
                let certs = ward.certs(&format!("{tenant}-{device}"));
                publish(&ward.stand, &certs, (tenant, device), index).await?;
            }
            Ok(())
        })?;
        // A device has a certificate of ours and no role.
        let (from, to) = (ward.certs(&format!("{TENANT}-mon-1")), ward.certs("device"));
        std::fs::create_dir_all(&to)?;
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            std::fs::copy(from.join(name), to.join(name))?;
        }
        ward.archived()?;
        Ok(ward)
    }

    fn certs(&self, name: &str) -> PathBuf {
        self.stand.path("people").join(name)
    }

    fn archived(&self) -> anyhow::Result<()> {
        let wanted = 3 * 2 * READINGS;
        eventually("all readings are archived", WAIT, || {
            let found = rows::readings(&self.stand.table("numerics")?)?.len();
            ensure!(found == wanted, "{found} of {wanted}");
            let blocks: usize = self.stand.table("waveforms")?.iter().map(|batch| batch.num_rows()).sum();
            ensure!(blocks == 3, "{blocks} of 3 blocks");
            Ok(Some(()))
        })
    }

    /// Starts the server with small bounds and waits until it serves.
    pub(crate) fn serve(&self) -> anyhow::Result<(Process, u16)> {
        // A tier leaves less of the machine to whoever asks.
        self.serve_for(if tiered::is_wanted() { 20 } else { 5 })
    }

    /// The same with so many seconds for a statement.
    fn serve_for(&self, seconds: u64) -> anyhow::Result<(Process, u16)> {
        let [port] = free_ports()?;
        let mut command = Command::new(binary("wardline-query")?);
        command.arg("serve").arg("--data-dir").arg(self.stand.data());
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--fhir-listen", &format!("127.0.0.1:{}", self.fhir)]);
        command.args(["--rows-max", "2000000", "--statements-per-caller-max", "2"]);
        command.args(["--seconds-max", &seconds.to_string()]);
        let mut server = Process::start("wardline-query", &mut command, &self.stand.path("query.log"))?;
        eventually("wardline-query serves", WAIT, || {
            ensure!(server.is_running(), "it ended:\n{}", server.tail());
            Ok(server.tail().contains("serves: flight-sql").then_some(()))
        })?;
        Ok((server, port))
    }
}

fn key(tenant: &str, device: &str) -> anyhow::Result<DeviceKey> {
    Ok(DeviceKey { tenant: TenantId::new(tenant)?, device: DeviceId::new(device)? })
}

/// Publishes heart rate and SpO2, a second apart, and one block of ECG; values differ by device.
async fn publish(
    stand: &Stand,
    certs: &Path,
    (tenant, device): (&str, &str),
    index: usize,
) -> anyhow::Result<()> {
    let start_us = now_us() - 200_000_000;
    if index == 0 {
        let binding = NewBinding {
            device: key(tenant, device)?,
            subject: SUBJECT.into(),
            from_us: start_us - 1,
            until_us: None,
        };
        let store = stand.store()?.open_existing().await?;
        let change = Change::new("os:nurse@ward", now_us());
        store.bind(&change, &binding).await?;
        let device = NewDevice { site: ICU.into(), ..NewDevice::bare(key(tenant, device)?) };
        store.import_devices(&change, &[device]).await?;
        store.close().await;
    }
    let values = |base: f64| -> Vec<f64> {
        (0..READINGS).map(|n| base + index as f64 + (n % 7) as f64 / 4.0).collect()
    };
    let numerics =
        vec![series(HEART_RATE, "/min", start_us, &values(70.0)), series(SPO2, "%", start_us, &values(90.0))];
    let samples: Vec<i32> = (0..250).map(|n| (n * n) % 97 - 48).collect();
    let block = WaveformBlock {
        mdc_code: ECG_II,
        ucum_unit: "mV".into(),
        start_us,
        interval_ns: 4_000_000,
        sample_deltas: delta_encode(&samples),
        scale: 0.01,
        ..WaveformBlock::default()
    };
    let mut publisher = Publisher::connect(stand.mqtt, tenant, device, certs).await?;
    publisher.publish(&frame(1, 1, &Body { numerics, ..Body::default() })).await?;
    let mut waveform = frame(1, 1, &Body { waveforms: vec![block], ..Body::default() });
    waveform.set_lane(Lane::Waveforms);
    publisher.publish(&waveform).await
}

#[test]
fn flight_sql_answers_by_role_and_ends_with_the_certificate() -> anyhow::Result<()> {
    let mut ward = Ward::new()?;
    let (mut server, port) = ward.serve()?;
    let revoke = [
        binary("wardline")?.display().to_string(),
        "cert".into(),
        "revoke".into(),
        "--server".into(),
        format!("https://localhost:{}", ward.stand.grpc),
        "--certs".into(),
        ward.stand.data().join("operator").display().to_string(),
        "--tenant".into(),
        TENANT.into(),
        "--user".into(),
        "leaver".into(),
        "--reason".into(),
        "left".into(),
    ];
    let mut python = python::script("tests/python/flight_sql.py", None)?;
    python.arg("--data-dir").arg(ward.stand.data()).arg("--certs").arg(ward.stand.path("people"));
    python.args(["--port", &port.to_string(), "--tenant", TENANT, "--subject", SUBJECT]);
    let told = run(python.arg("--revoke").arg(serde_json::to_string(&revoke)?));
    println!("{}", told.map_err(|error| error.context(server.tail()))?);
    server.stop(WAIT)?;

    let of = |name: &str| format!("spiffe://wardline.local/tenant/{TENANT}/user/{name}");
    eventually("who asked and who was refused is in the trail", WAIT, || {
        let audited = rows::audited(&ward.stand.table("audit")?)?;
        for (action, outcome, actor) in [
            ("archive_queried", "ok", of("clinician")),
            ("archive_queried", "ok", of("analyst")),
            ("refused", "WL-QRY-003", of("analyst")),
            ("refused", "WL-ID-007", of("norole")),
            ("refused", "WL-ID-002", of("leaver")),
        ] {
            let found =
                audited.iter().any(|a| a.action == action && a.outcome == outcome && a.actor == actor);
            ensure!(found, "no {action} {outcome} of {actor} among {} rows", audited.len());
        }
        Ok(Some(()))
    })?;
    ward.stand.stop()?;
    ward.stand.verify()
}

#[test]
fn each_role_reads_what_it_is_granted_and_a_reading_is_seen_within_two_seconds() -> anyhow::Result<()> {
    let mut ward = Ward::new()?;
    let (mut server, port) = ward.serve_for(240)?;
    let certs = ward.stand.path("people");
    let mut grants = python::script("tests/python/grants.py", None)?;
    grants.arg("--certs").arg(&certs).args(["--port", &port.to_string(), "--subject", SUBJECT]);
    println!("{}", run(&mut grants).map_err(|error| error.context(server.tail()))?);

    let mut raw = python::script("tests/python/flight_raw.py", None)?;
    raw.arg("--certs").arg(&certs).args(["--port", &port.to_string(), "--subject", SUBJECT]);
    raw.args(["--fhir-port", &ward.fhir.to_string()]);
    println!("{}", run(&mut raw).map_err(|error| error.context(server.tail()))?);

    let mut memory = python::script("tests/python/memory.py", None)?;
    memory.arg("--certs").arg(&certs).args(["--port", &port.to_string(), "--pid", &server.id().to_string()]);
    println!("{}", run(&mut memory).map_err(|error| error.context(server.tail()))?);

    let acks = ward.stand.path("acks");
    let publisher = std::thread::scope(|threads| {
        let publishing = threads.spawn(|| block_on(publish_one_by_one(&ward, &acks)));
        let mut fresh = python::script("tests/python/fresh.py", None)?;
        fresh.arg("--certs").arg(&certs).args(["--port", &port.to_string()]).arg("--acks").arg(&acks);
        // Over a tier it is on its way from a front's log to the bus for a moment.
        fresh.args(["--within", if tiered::is_wanted() { "2" } else { "0" }]);
        println!("{}", run(&mut fresh).map_err(|error| error.context(server.tail()))?);
        publishing.join().map_err(|_panic| anyhow::anyhow!("the publisher panicked"))?
    });
    publisher?;
    server.stop(WAIT)?;
    ward.stand.stop()?;
    ward.stand.verify()
}

/// Publishes readings 1 to 60 of a device, slowly enough for commits to fall between them, and notes when each was
/// acknowledged.
async fn publish_one_by_one(ward: &Ward, acks: &Path) -> anyhow::Result<()> {
    let certs = ward.certs("fresh");
    operate::issue_device(&ward.stand.data(), &key(TENANT, "fresh-1")?, &certs).await?;
    let mut publisher = Publisher::connect(ward.stand.mqtt, TENANT, "fresh-1", &certs).await?;
    let mut noted = std::fs::File::create(acks)?;
    for n in 1..=60_u64 {
        let numerics = vec![series(SPO2, "%", now_us(), &[n as f64])];
        publisher.publish(&frame(1, n, &Body { numerics, ..Body::default() })).await?;
        writeln!(noted, "{n} {}", now_us())?;
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    Ok(writeln!(noted, "end")?)
}

#[test]
fn every_road_to_the_archive_gives_the_same_numbers() -> anyhow::Result<()> {
    let mut ward = Ward::new()?;
    let (mut server, port) = ward.serve()?;
    let mut interop =
        python::script("tests/python/interop.py", Some(&python::root()?.join("docs/examples")))?;
    interop.arg("--data-dir").arg(ward.stand.data()).arg("--certs").arg(ward.stand.path("people"));
    interop.args(["--port", &port.to_string(), "--tenant", TENANT]);
    interop.arg("--binary").arg(binary("wardline-query")?);
    println!("{}", run(&mut interop)?);

    let mut notebook = python::script("tests/python/run_notebook.py", None)?;
    notebook.arg(python::root()?.join("docs/examples/query.ipynb")).arg("3");
    notebook.env("WARDLINE_FLIGHT", format!("grpc+tls://localhost:{port}"));
    notebook.env("WARDLINE_CERTS", ward.certs("clinician")).env("IPYTHONDIR", ward.stand.path("ipython"));
    println!("{}", run(&mut notebook)?);
    server.stop(WAIT)?;
    ward.stand.stop()
}
