//! Enrolment by factory certificate, and authorities that only look right.

use crate::rig::{FAR_US, Rig, SIMPLEENROLL, SIMPLEREENROLL, change, hex, tenant};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use wardline::pki::sha256;
use wardline_store::registry::ManufacturerCa;

/// Makes a manufacturer's authority and the certificate of one of its devices, which names an identity of ours too.
async fn factory(rig: &Rig, name: &str, serial_number: &str) {
    let ca = "-subj /O=Maker/CN=Root -days 30 -addext keyUsage=critical,keyCertSign";
    rig.openssl(&format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}-ca.key -out {name}-ca.pem {ca}")).await;
    rig.openssl(&format!("ecparam -name prime256v1 -genkey -noout -out {name}.key")).await;
    let subject = format!("/O=Maker/serialNumber={serial_number}");
    rig.openssl(&format!("req -new -key {name}.key -subj {subject} -out {name}.csr")).await;
    let san = "subjectAltName=URI:spiffe://wardline.local/tenant/demo/device/mon-1\n";
    std::fs::write(rig.path("san.cnf"), san).unwrap();
    let sign = format!(
        "x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -days 30 -extfile san.cnf -out {name}.pem"
    );
    rig.openssl(&sign).await;
}

async fn register(rig: &Rig, name: &str) -> String {
    let pem = std::fs::read_to_string(rig.path(&format!("{name}-ca.pem"))).unwrap();
    let ca_id = hex(&sha256(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()));
    let ca = ManufacturerCa {
        ca_id: ca_id.clone(),
        maker: tenant(),
        tenant: tenant(),
        model: String::new(),
        pem,
        revoked_at_us: None,
    };
    rig.node.store().add_manufacturer_ca(&change(), &ca).await.unwrap();
    ca_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_factory_certificate_enrols_its_own_serial_number_once() {
    let rig = Rig::new().await;
    factory(&rig, "maker", "SN-1").await;
    let ca_id = register(&rig, "maker").await;
    let tls = ["--cert", "maker.pem", "--key", "maker.key"];
    rig.until("the port takes the manufacturer", async || {
        rig.try_curl("/.well-known/est/cacerts", &tls).await.is_some()
    })
    .await;
    let request = rig.request("mon", "").await;
    let answer = rig.post(SIMPLEENROLL, &request, &tls).await;
    assert!(answer.status == 403 && answer.text().starts_with("WL-EST-010"), "not allowed yet: {answer:?}");
    rig.audited_refusal("WL-EST-010").await;
    rig.node.store().allow_serials(&change(), &ca_id, &["SN-1".to_owned()]).await.unwrap();
    let first = rig.post(SIMPLEENROLL, &request, &tls).await;
    rig.save(&first, "mon").await;
    assert_eq!(rig.mqtt("mon.pem", "mon.key").await, Some(0));
    let text = String::from_utf8(rig.openssl("x509 -in mon.pem -noout -ext subjectAltName").await).unwrap();
    assert!(text.contains("/tenant/demo/device/sn-1"), "named by its serial number: {text}");
    assert_eq!(rig.post(SIMPLEENROLL, &request, &tls).await.body, first.body, "asked again");
    let second = rig.request("second", "").await;
    let answer = rig.post(SIMPLEENROLL, &second, &tls).await;
    assert!(answer.status == 403 && answer.text().starts_with("WL-EST-010"), "another key: {answer:?}");

    // As the page says: a device with a new board gets a claim, after the old certificate was revoked.
    assert_eq!(rig.revoke("sn-1").await, 1);
    let answer = rig.post(SIMPLEENROLL, &request, &tls).await;
    assert!(answer.status == 403 && answer.text().starts_with("WL-ID-002"), "the old key: {answer:?}");
    rig.claim("board", Some("sn-1")).await;
    rig.save(&rig.enrol(&second, "sn-1", "board").await, "second").await;
    assert_eq!(rig.mqtt("second.pem", "second.key").await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manufacturer_speaks_for_no_identity_and_an_equal_name_for_no_manufacturer() {
    let rig = Rig::new().await;
    rig.claim_until(&change(), "geheim", None, FAR_US).await;
    let request = rig.request("mon", "").await;
    assert_eq!(rig.enrol(&request, "mon-1", "geheim").await.status, 200, "mon-1 is real");
    factory(&rig, "maker", "SN-1").await;
    factory(&rig, "mimic", "SN-1").await;
    register(&rig, "maker").await;
    let tls = ["--cert", "maker.pem", "--key", "maker.key"];
    rig.until("the port takes the manufacturer", async || {
        rig.try_curl("/.well-known/est/cacerts", &tls).await.is_some()
    })
    .await;
    let answer = rig.post(SIMPLEREENROLL, &request, &tls).await;
    assert!(answer.status == 401 && answer.text().starts_with("WL-ID-001"), "it names mon-1: {answer:?}");
    rig.audited_refusal("WL-ID-001").await;
    assert_eq!(rig.mqtt("maker.pem", "maker.key").await, None, "MQTT knows no manufacturers");
    let mimic =
        rig.try_curl(SIMPLEENROLL, &["-X", "POST", "--cert", "mimic.pem", "--key", "mimic.key"]).await;
    assert!(mimic.is_none(), "another authority of the same name: {mimic:?}");
}
