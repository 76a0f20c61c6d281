//! The archive in a bucket: the same answers, and no more bytes than a statement needs.

use crate::rig::{Archive, NOW_US, query, text};
use ring::rand::{SecureRandom, SystemRandom};
use wardline_archive::testing::{TestSeaweed, Wire};
use wardline_proto::v1::PayloadFormat;

/// Bytes that nobody packs, in frames that are none: a large file of the quarantine.
const FRAMES: usize = 60;
const FRAME_BYTES: usize = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_reads_the_ranges_that_it_needs() {
    let store = tokio::task::spawn_blocking(TestSeaweed::shared).await.unwrap().unwrap();
    let wire = Wire::to(store.port()).await.unwrap();
    let mut archive = Archive::on(Some(wire.port())).await;
    for at_us in NOW_US..NOW_US + FRAMES as i64 {
        let mut noise = vec![0xFF; FRAME_BYTES];
        SystemRandom::new().fill(&mut noise[1..]).unwrap();
        archive.publish("demo/mon-1", at_us, noise, PayloadFormat::Frame);
    }
    archive.reading("demo/mon-1", NOW_US, 97.0);
    archive.flush().await;
    archive.stop().await;
    assert!(!archive.path().join("archive").exists(), "no file lies on this machine");
    let whole = (FRAMES * FRAME_BYTES) as u64;
    let answered = |sql: &str, rows: &[&str]| {
        let before = wire.answered_bytes();
        assert_eq!(archive.rows(sql), rows, "{sql}");
        wire.answered_bytes() - before
    };
    let counted = answered("SELECT count(*) FROM quarantine", &["60"]);
    let narrow = answered(
        "SELECT reason, count(DISTINCT journal_offset) FROM quarantine GROUP BY reason",
        &["WL-PAY-002,60"],
    );
    let all = answered("SELECT count(DISTINCT payload) FROM quarantine", &["60"]);
    println!(
        "{whole} bytes of payload; answered for count {counted}, for two columns {narrow}, for the payload {all}"
    );
    assert!(counted < whole / 50, "the footer, for {counted} bytes");
    assert!(narrow < whole / 50 && all > whole, "two columns {narrow}, the payload {all} of {whole}");
    assert_eq!(archive.rows("SELECT value FROM vitals"), ["97.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_or_refuses_is_an_error_with_its_code() {
    let archive = Archive::of(&[97.0]).await;
    let settings = TestSeaweed::settings(archive.path(), 1, "none", "nobody").unwrap();
    std::fs::write(archive.path().join("wardline.toml"), format!("[archive.bucket]\n{settings}")).unwrap();
    let output = query(archive.path(), &["SELECT count(*) FROM numerics"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("WL-ARC-001"), "{error}");
    std::fs::remove_file(archive.path().join("wardline.toml")).unwrap();
    assert_eq!(
        text(&query(archive.path(), &["SELECT value FROM numerics", "--format", "csv"])),
        "value\n97.0\n"
    );
}
