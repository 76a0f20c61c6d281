//! Master keys at a real key service.

use crate::rig::{Rig, readings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use wardline_archive::testing::TestBao;
use wardline_archive::transit::{Transit, TransitSettings};
use wardline_archive::verify::{Discrepancy, Verification, Verifier};
use wardline_archive::{ErrorKind, Table};
use wardline_journal::{KeyError, KeyProvider, KeyPurpose, KeyState, Keyring};
use wardline_proto::TenantId;

/// A certificate of an authority that signed nothing; its key is gone.
const OTHER_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBeDCCAR2gAwIBAgIUFfwhzRuNn6KmhA2DOG8tz+uIV7swCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFb3RoZXIwIBcNMjYxMTIxMTczODA3WhgPMjEyNjEwMjgxNzM4
MDdaMBAxDjAMBgNVBAMMBW90aGVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
nX7mcF3DkCVKVxfMtsKSHwYPwWa68X9xuKT4b2IWYLBVhldrVWMtf27mdVtjNl1d
HfwVhFTVITvOPyvUPW4e6KNTMFEwHQYDVR0OBBYEFLgnrLMJ+BceN4nbsbFJiLA0
gCHUMB8GA1UdIwQYMBaAFLgnrLMJ+BceN4nbsbFJiLA0gCHUMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAN4z1qfGwNvwBQvZzyw0tfN8bcBtklc2
AWDRLS6ipVXcAiEAzqt4/uVjl4HEd+VpENgCukBuyJGKWQl/D2BVQZcSdH8=
-----END CERTIFICATE-----
";

pub(crate) fn demo() -> TenantId {
    TenantId::new("demo").unwrap()
}

pub(crate) fn transit(rig: &Rig, settings: &str) -> Result<Transit, KeyError> {
    let settings: TransitSettings = toml::from_str(settings).unwrap();
    Transit::open(settings.resolve(rig.folder.path()).unwrap())
}

/// Asks a keyring where a thread may wait for the service.
pub(crate) async fn blocking<T: Send + 'static>(
    keys: &Arc<Keyring>,
    ask: impl FnOnce(&Keyring) -> T + Send + 'static,
) -> T {
    let keys = keys.clone();
    spawn_blocking(move || ask(&keys)).await.unwrap()
}

/// A rig whose tenants' keys are at the service.
pub(crate) async fn held(bao: &TestBao, seconds: u32) -> Rig {
    let rig = Rig::new().await;
    let token = bao.token(seconds).await.unwrap();
    let service = transit(&rig, &bao.settings(rig.folder.path(), &token).unwrap()).unwrap();
    let keyring = Keyring::open(rig.keyring.path()).unwrap().with_service(Arc::new(service));
    Rig { keyring: Arc::new(keyring), ..rig }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_service_conforms() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    let keyring = rig.keyring.clone();
    spawn_blocking(move || wardline_journal::provider_tests::conforms(&*keyring)).await.unwrap();
    let text = std::fs::read_to_string(rig.keyring.path()).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let of_tenants = file["keys"].as_array().unwrap().iter().filter(|key| !key["tenant"].is_null());
    assert!(
        of_tenants.clone().count() == 2 && of_tenants.clone().all(|key| key["key"].is_null()),
        "none is here"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_written_rotated_and_shredded_by_a_key_service() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    let keys = rig.keyring.clone();
    let new =
        spawn_blocking(move || keys.rotate(KeyPurpose::Measurements, Some(&demo()))).await.unwrap().unwrap();
    rig.frame(2, &readings(&[2.0]));
    rig.archive().await;
    let states: Vec<_> =
        rig.keyring.list().into_iter().filter(|key| key.purpose == KeyPurpose::Measurements).collect();
    assert_eq!(states.iter().map(|key| key.state).collect::<Vec<_>>(), [KeyState::Retired, KeyState::Active]);
    assert_eq!(states[1].id, new);
    assert_eq!(rig.count(Table::Numerics).await, 2, "what was written before is read");
    // A file without the service is not read, and says why.
    let alone = Rig { keyring: Arc::new(Keyring::open(rig.keyring.path()).unwrap()), ..rig };
    let file = alone.reader().files(Some(Table::Numerics)).await.unwrap().remove(0);
    let error = alone.reader().read(&file).map(drop).unwrap_err().to_string();
    assert!(error.contains("WL-KEY-002"), "{error}");
    let token = bao.token(60).await.unwrap();
    let service = transit(&alone, &bao.settings(alone.folder.path(), &token).unwrap()).unwrap();
    let keyring = Arc::new(Keyring::open(alone.keyring.path()).unwrap().with_service(Arc::new(service)));
    let rig = Rig { keyring, ..alone };
    let keys = rig.keyring.clone();
    let gone = spawn_blocking(move || keys.shred(&demo())).await.unwrap().unwrap();
    assert_eq!(gone.len(), 4);
    for id in &gone {
        let left = bao.ask(reqwest::Method::GET, &format!("transit/keys/{id}"), &Value::Null).await;
        assert!(left.unwrap_err().starts_with("404"), "{id} is destroyed there");
    }
    let error = rig.reader().read(&file).map(drop).unwrap_err().to_string();
    assert!(error.contains("WL-KEY-003"), "{error}");
    rig.execute("INSERT INTO tenant_shred (tenant, asked_at_us, done_at_us) VALUES ('demo', 1, 2)").await;
    let found = verified(&rig).await;
    let is_lost = |d: &Discrepancy| matches!(d, Discrepancy::Unreadable(..));
    assert!(!found.is_clean() && found.discrepancies.iter().any(is_lost), "of a later day: {found:?}");
    rig.execute("UPDATE tenant_shred SET done_at_us = 1792300000000000").await;
    let found = verified(&rig).await;
    assert!(
        found.is_clean() && found.discrepancies.iter().any(|d| matches!(d, Discrepancy::Shredded(_))),
        "{found:?}"
    );
}

async fn verified(rig: &Rig) -> Verification {
    let mut verifier = Verifier::start(rig.reader()).await.unwrap();
    while verifier.step() {}
    verifier.finish().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_service_that_is_away_is_waited_for_and_nothing_is_written_in_clear() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    bao.freeze(true).unwrap();
    rig.frame(1, &readings(&[1.0]));
    let end = rig.end();
    let running = rig.run(rig.options());
    let flushed = tokio::time::timeout(Duration::from_secs(5), running.handle.flush_to(end)).await;
    assert!(flushed.is_err() && !running.task.is_finished() && rig.files_there().await == 0);
    let keys = rig.keyring.clone();
    let error =
        spawn_blocking(move || keys.ensure(KeyPurpose::Footer, Some(&demo()))).await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("WL-KEY-001"), "{error}");
    assert_eq!(wardline_archive::ArchiveError::from(error).kind(), ErrorKind::Retry);
    bao.freeze(false).unwrap();
    running.finish(end).await.unwrap();
    assert_eq!(rig.count(Table::Numerics).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_gone_or_destroyed_behind_our_back_has_its_own_code() {
    let mut bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    let made = blocking(&rig.keyring, |keys| keys.ensure(KeyPurpose::Footer, Some(&demo()))).await.unwrap();
    let (lost, master) = (made.clone(), made.clone());
    let wrapped = blocking(&rig.keyring, move |keys| keys.wrap(&master, &[1; 16])).await.unwrap();
    let unwrapped = |wrapped: Vec<u8>| {
        let (master, keys) = (made.clone(), rig.keyring.clone());
        async move { blocking(&keys, move |keys| keys.unwrap_key(&master, &wrapped)).await }
    };
    bao.seal().await.unwrap();
    let error = unwrapped(wrapped.clone()).await.unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-001") && error.contains("sealed"), "{error}");
    bao.unseal().await.unwrap();
    assert_eq!(*unwrapped(wrapped.clone()).await.unwrap(), [1; 16], "nothing is lost");
    let path = format!("transit/keys/{lost}");
    bao.ask(reqwest::Method::POST, &format!("{path}/config"), &json!({"deletion_allowed": true}))
        .await
        .unwrap();
    bao.ask(reqwest::Method::DELETE, &path, &Value::Null).await.unwrap();
    let error = unwrapped(wrapped.clone()).await.unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-003"), "{error}");
    // The policy lets nobody make a key in its place by wrapping, so the archive waits until the tenant's is renewed.
    rig.frame(1, &readings(&[1.0]));
    let end = rig.end();
    let running = rig.run(rig.options());
    let flushed = tokio::time::timeout(Duration::from_secs(2), running.handle.flush_to(end)).await;
    assert!(flushed.is_err() && !running.task.is_finished() && rig.files_there().await == 0);
    blocking(&rig.keyring, |keys| keys.rotate(KeyPurpose::Footer, Some(&demo()))).await.unwrap();
    running.finish(end).await.unwrap();
    assert_eq!(rig.count(Table::Numerics).await, 1);
    bao.kill().unwrap();
    let error = unwrapped(wrapped).await.unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-001"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_another_authority_is_not_trusted() {
    let bao = TestBao::start().await.unwrap();
    let rig = Rig::new().await;
    let settings = bao.settings(rig.folder.path(), "s.never-sent").unwrap();
    let other = rig.folder.path().join("other-ca.pem");
    std::fs::write(&other, OTHER_AUTHORITY).unwrap();
    let named = settings.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n");
    for settings in [format!("{named}\nca_file = \"{}\"\n", other.display()), named] {
        let service = transit(&rig, &settings).unwrap();
        let keyring = Keyring::open(rig.keyring.path()).unwrap().with_service(Arc::new(service));
        let made = blocking(&Arc::new(keyring), |keys| keys.ensure(KeyPurpose::Footer, Some(&demo()))).await;
        let error = made.unwrap_err().to_string();
        assert!(error.starts_with("WL-KEY-001") && error.contains("certificate"), "{error}");
    }
    assert!(rig.keyring.list().iter().all(|key| key.tenant.is_none()), "no key is named that was not made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_and_a_wrong_one_is_a_clear_refusal() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 4).await;
    let keys = rig.keyring.clone();
    let id = spawn_blocking(move || keys.ensure(KeyPurpose::Footer, Some(&demo()))).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (keys, master) = (rig.keyring.clone(), id.clone());
    spawn_blocking(move || keys.wrap(&master, &[1; 16])).await.unwrap().unwrap();
    let service = transit(&rig, &bao.settings(rig.folder.path(), "s.wrong").unwrap()).unwrap();
    let keyring = Arc::new(Keyring::open(rig.keyring.path()).unwrap().with_service(Arc::new(service)));
    let (keys, master) = (keyring.clone(), id.clone());
    let error = spawn_blocking(move || keys.wrap(&master, &[1; 16])).await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-002") && error.contains("permission denied"), "{error}");
    assert!(!error.contains("s.wrong"), "{error}");
    // A new token in the file is taken without a new start.
    let token = bao.token(60).await.unwrap();
    bao.settings(rig.folder.path(), &token).unwrap();
    spawn_blocking(move || keyring.wrap(&id, &[1; 16])).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_come_later_than_the_gateway() {
    let bao = TestBao::start().await.unwrap();
    let rig = Rig::new().await;
    let token = bao.token(60).await.unwrap();
    let settings = bao.settings(rig.folder.path(), &token).unwrap();
    let file = rig.folder.path().join("bao-token");
    std::fs::remove_file(&file).unwrap();
    let section = format!("[keys.transit]\n{settings}");
    std::fs::write(rig.folder.path().join("wardline.toml"), section).unwrap();
    let place = wardline_archive::place::Place::of(rig.folder.path()).unwrap();
    let rig = Rig { keyring: Arc::new(place.keyring(rig.folder.path()).unwrap()), ..rig };
    rig.frame(1, &readings(&[1.0]));
    let end = rig.end();
    let running = rig.run(rig.options());
    let flushed = tokio::time::timeout(Duration::from_secs(1), running.handle.flush_to(end)).await;
    assert!(flushed.is_err() && !running.task.is_finished(), "the archive waits");
    let error = blocking(&rig.keyring, |keys| keys.ensure(KeyPurpose::Footer, Some(&demo()))).await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-002") && error.contains("token_file"), "{error}");
    bao.settings(rig.folder.path(), &token).unwrap();
    running.finish(end).await.unwrap();
    assert_eq!(rig.count(Table::Numerics).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_anothers_keys_does_not_ask_the_service_again() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    let first = rig.reader();
    let file = first.files(Some(Table::Numerics)).await.unwrap().remove(0);
    let rows = |reader: &wardline_archive::read::ArchiveReader| {
        reader.read(&file).map(|rows| rows.map(|batch| batch.unwrap().num_rows()).sum::<usize>())
    };
    assert_eq!(rows(&first).unwrap(), 1);
    let (with, without) = (rig.reader().with_keys(first.keys()), rig.reader());
    bao.freeze(true).unwrap();
    assert_eq!(rows(&with).unwrap(), 1);
    let refused = rows(&without).unwrap_err().to_string();
    bao.freeze(false).unwrap();
    assert!(refused.contains("WL-KEY-001"), "{refused}");
}
