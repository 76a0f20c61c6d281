//! A device is asked to send again what the table of requests says.

use crate::support::Stand;
use prost::Message;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use wardline::operate::local_change;
use wardline_archive::place::Place;
use wardline_proto::v1::{Command, Lane, command};
use wardline_store::catalog::StreamId;
use wardline_store::resend::NewResend;

#[tokio::test]
async fn a_request_that_does_not_read_holds_up_no_other() {
    let stand = Stand::new().await;
    let store = Place::of(stand.dir.path()).unwrap().store().open_existing().await.unwrap();
    let mut asked = Vec::new();
    for epoch in [5, 6, 7] {
        let lane = Lane::Numerics.into();
        let stream = StreamId { tenant: "demo".into(), device: "mon-1".into(), epoch, lane };
        let wish = NewResend { stream, ranges: vec![3..=9], life_us: 3_600_000_000 };
        asked.push(store.ask_resend(&local_change(), &wish).await.unwrap());
    }
    let file = SqliteConnectOptions::new().filename(stand.dir.path().join("wardline.db"));
    let mut database = SqliteConnection::connect_with(&file).await.unwrap();
    let request = format!("UPDATE resend_request SET ranges = '3-nine' WHERE id = {}", asked[0]);
    let stream = "INSERT INTO archive_stream (tenant, device, epoch, lane, seen, recent, archived, duplicates, \
                  quarantined, late, updated_at_us) VALUES ('demo', 'mon-1', 6, 2, x'ff', x'', 0, 0, 0, 0, 1)";
    assert_eq!(i32::from(Lane::Numerics), 2);
    for damage in [request.as_str(), stream] {
        sqlx::query(AssertSqlSafe(damage)).execute(&mut database).await.unwrap();
    }
    let mut client = stand.session("mon-1", 4).await;
    let filter = "wl/1/demo/mon-1/down/command";
    client.subscribe(4, filter, 0).await;
    let packet = client.packet().await.expect("goes on");
    let command = Command::decode(&packet[4 + filter.len()..]).unwrap();
    let Some(command::Kind::Resend(resend)) = command.kind else { panic!("{command:?}") };
    assert_eq!((resend.request, resend.epoch), (asked[2], 7));
    store.close().await;
}
