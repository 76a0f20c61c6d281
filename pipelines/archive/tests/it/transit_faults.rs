//! Shredding that is cut, keys at another place than the settings name, and what answers in the service's stead.

use crate::rig::{Rig, frame, readings};
use crate::transit::{blocking, demo, held, transit};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wardline_archive::testing::{POLICY, TestBao};
use wardline_archive::transit::Transit;
use wardline_archive::{ArchiveError, ArchiveOptions, ErrorKind, Table};
use wardline_journal::{KeyError, KeyId, KeyProvider, KeyPurpose, KeyService, Keyring};
use wardline_proto::v1::PayloadFormat;
use zeroize::Zeroizing;

/// A real service which whoever destroys keys loses after some.
struct Lost {
    service: Transit,
    destroys: AtomicUsize,
}

impl KeyService for Lost {
    fn place(&self) -> &str {
        self.service.place()
    }

    fn create(&self, id: &KeyId) -> Result<(), KeyError> {
        self.service.create(id)
    }

    fn wrap(&self, id: &KeyId, data_key: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.service.wrap(id, data_key)
    }

    fn unwrap_key(&self, id: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.service.unwrap_key(id, wrapped)
    }

    fn destroy(&self, id: &KeyId) -> Result<(), KeyError> {
        match self.destroys.fetch_sub(1, Ordering::SeqCst) {
            0 => Err(KeyError::Away("lost".to_owned())),
            _left => self.service.destroy(id),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shredding_that_is_cut_stops_nobodys_archive() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    let token = bao.token(60).await.unwrap();
    let service = transit(&rig, &bao.settings(rig.folder.path(), &token).unwrap()).unwrap();
    let lost = Lost { service, destroys: AtomicUsize::new(2) };
    let cut = Arc::new(Keyring::open(rig.keyring.path()).unwrap().with_service(Arc::new(lost)));
    let error = blocking(&cut, |keys| keys.shred(&demo())).await.unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-001"), "{error}");
    let before = rig.keyring.list();
    assert_eq!(before.iter().filter(|key| key.tenant.is_some()).count(), 3, "none leaves the file half done");
    rig.frame(2, &readings(&[2.0]));
    tokio::time::timeout(Duration::from_secs(10), rig.archive()).await.expect("new keys are made");
    // Asked for again, it destroys what was left, and what came since.
    let gone = blocking(&rig.keyring, |keys| keys.shred(&demo())).await.unwrap();
    assert_eq!(gone.len(), 6);
    assert!(rig.keyring.list().iter().all(|key| key.tenant.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_at_another_place_is_neither_gone_nor_destroyed() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    let id = blocking(&rig.keyring, |keys| keys.ensure(KeyPurpose::Footer, Some(&demo()))).await.unwrap();
    let made = id.clone();
    let wrapped = blocking(&rig.keyring, move |keys| keys.wrap(&made, &[1; 16])).await.unwrap();
    bao.ask(reqwest::Method::POST, "sys/mounts/other", &json!({"type": "transit"})).await.unwrap();
    let policy = format!("{POLICY}\n{}", POLICY.replace("\"transit/", "\"other/"));
    bao.ask(reqwest::Method::POST, "sys/policies/acl/wardline", &json!({"policy": policy})).await.unwrap();
    let token = bao.token(60).await.unwrap();
    let settings = bao.settings(rig.folder.path(), &token).unwrap() + "mount = \"other\"\n";
    let moved = Keyring::open(rig.keyring.path()).unwrap();
    let moved = Arc::new(moved.with_service(Arc::new(transit(&rig, &settings).unwrap())));
    let error = blocking(&moved, |keys| keys.shred(&demo())).await.unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-002") && error.contains("/transit,"), "{error}");
    let (made, text) = (id.clone(), wrapped.clone());
    let error = blocking(&moved, move |keys| keys.unwrap_key(&made, &text)).await.unwrap_err().to_string();
    assert!(error.starts_with("WL-KEY-002"), "{error}");
    assert_eq!(*blocking(&rig.keyring, move |keys| keys.unwrap_key(&id, &wrapped)).await.unwrap(), [1; 16]);
    // With the settings of the place it is destroyed.
    assert_eq!(blocking(&rig.keyring, |keys| keys.shred(&demo())).await.unwrap().len(), 1);
}

/// Answers everything with success and a body; counts connections.
async fn stranger(body: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            let mut asked = [0; 4096];
            let _asked = client.read(&mut asked).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _sent = client.write_all(answer.as_bytes()).await;
        }
    });
    (port, connections)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_in_the_services_stead_is_waited_out() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    let id = blocking(&rig.keyring, |keys| keys.ensure(KeyPurpose::Footer, Some(&demo()))).await.unwrap();
    for body in ["<html>sign in</html>", "{}", "{\"data\":{\"ok\":true}}"] {
        let token = rig.folder.path().join("bao-token");
        let (port, _) = stranger(body).await;
        let settings = format!("url = \"http://127.0.0.1:{port}\"\ntoken_file = \"{}\"\n", token.display());
        let keys = Keyring::open(rig.keyring.path()).unwrap();
        let keys = Arc::new(keys.with_service(Arc::new(transit(&rig, &settings).unwrap())));
        let error = blocking(&keys, |keys| keys.shred(&demo())).await.unwrap_err();
        assert!(error.to_string().starts_with("WL-KEY-001"), "{body}: {error}");
        let made = id.clone();
        let error = blocking(&keys, move |keys| keys.wrap(&made, &[1; 16])).await.unwrap_err();
        assert!(error.to_string().starts_with("WL-KEY-001"), "{body}: {error}");
        assert_eq!(ArchiveError::from(error).kind(), ErrorKind::Retry);
    }
    let path = format!("transit/keys/{id}");
    bao.ask(reqwest::Method::GET, &path, &Value::Null).await.expect("it lives, and is still known");
    assert!(rig.keyring.list().iter().any(|key| key.id == id));
    // What another process destroyed between the choice of a key and its use is made anew by the next try.
    assert_eq!(ArchiveError::from(KeyError::Unknown).kind(), ErrorKind::Retry);
    rig.frame(1, &readings(&[1.0]));
    rig.archive().await;
    assert_eq!(rig.count(Table::Numerics).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_keys_are_refused_stops_nobodys_merging() {
    let bao = TestBao::start().await.unwrap();
    let rig = held(&bao, 60).await;
    for seq in 1..=3 {
        rig.frame(seq, &readings(&[1.0]));
        if seq < 3 {
            rig.publish_of("other", frame(seq, &readings(&[1.0])), PayloadFormat::Frame);
        }
        rig.archive().await;
    }
    let keys = rig.keyring.list().into_iter().filter(|key| key.tenant == Some(demo()));
    let denied = |key: &KeyId| format!("path \"transit/decrypt/{key}\" {{ capabilities = [\"deny\"] }}\n");
    let policy = POLICY.to_owned() + &keys.map(|key| denied(&key.id)).collect::<String>();
    bao.ask(reqwest::Method::POST, "sys/policies/acl/wardline", &json!({"policy": policy})).await.unwrap();
    let options = ArchiveOptions { compact_interval: Some(Duration::ZERO), ..rig.options() };
    let running = rig.run(options);
    for _ in 0..4 {
        running.handle.flush_to(rig.end()).await.unwrap();
    }
    running.stop().await.unwrap();
    let files = rig.reader().files(Some(Table::Numerics)).await.unwrap();
    let of = |tenant: &str| files.iter().filter(|file| file.tenant == tenant).count();
    assert_eq!((of("demo"), of("other")), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_one_client_of_the_service() {
    let rig = Rig::new().await;
    let (port, connections) = stranger("{}").await;
    let token = rig.folder.path().join("token");
    std::fs::write(&token, "t").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let section = format!("[keys.transit]\nurl = \"http://127.0.0.1:{port}\"\ntoken_file = \"token\"\n");
    std::fs::write(rig.folder.path().join("wardline.toml"), section).unwrap();
    let keyring = || {
        let folder = rig.folder.path();
        wardline_archive::place::Place::of(folder).unwrap().keyring(folder).unwrap()
    };
    // Each client looks after its token at once, and after a second again.
    for _statement in 0..20 {
        drop(keyring());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let of_one = connections.load(Ordering::SeqCst);
    assert!((1..=3).contains(&of_one), "{of_one} connections");
}
