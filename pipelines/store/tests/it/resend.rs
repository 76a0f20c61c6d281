//! Requests to send again: who may ask for what, how many, and whose answer counts.

use crate::rig::{NOW_US, at, audited, key, on_both};
use wardline_proto::refusal::Refusal;
use wardline_store::Store;
use wardline_store::catalog::{Catalog, Commit, StreamId};
use wardline_store::registry::NewDevice;
use wardline_store::resend::{AskError, NewResend, RESENDS_OPEN_MAX, ResendAnswer, ResendState};

const HOUR_US: i64 = 3_600_000_000;

fn stream(device: &str, lane: i32) -> StreamId {
    StreamId { tenant: "st-mary".into(), device: device.into(), epoch: 7, lane }
}

fn wish(ranges: &[std::ops::RangeInclusive<u64>]) -> NewResend {
    NewResend { stream: stream("mon-1", 2), ranges: ranges.to_vec(), life_us: HOUR_US }
}

async fn registered(store: &Store) {
    for device in ["mon-1", "mon-2"] {
        store.register_device(&at(NOW_US), &NewDevice::bare(key(device))).await.unwrap();
    }
}

fn code(error: &AskError) -> &'static str {
    error.refusal().map_or("none", Refusal::code)
}

#[test]
fn a_request_is_audited_and_asked_for_once_while_it_is_open() {
    on_both(|store| async move {
        registered(&store).await;
        let asked = wish(&[3..=9, 20..=20]);
        let id = store.ask_resend(&at(NOW_US), &asked).await.unwrap();
        assert_eq!(store.ask_resend(&at(NOW_US + 1), &asked).await.unwrap(), id, "the same is open");
        let other = store.ask_resend(&at(NOW_US + 2), &wish(&[3..=9])).await.unwrap();
        assert!(other > id);
        let open = store.open_resends(NOW_US + 3, 0, 10).await.unwrap();
        assert_eq!(open.iter().map(|(id, _open)| *id).collect::<Vec<_>>(), [id, other]);
        let first = open[0].1.as_ref().unwrap();
        assert_eq!((first.id, first.ranges.clone(), first.frames), (id, vec![3..=9, 20..=20], 8));
        assert_eq!(store.open_resends(NOW_US + 3, id, 10).await.unwrap().len(), 1, "past the first");
        store.resend_sent(id, NOW_US + 4).await.unwrap();
        store.resend_sent(id, NOW_US + 9).await.unwrap();
        let told = store.resends(Some("st-mary"), "mon-1").await.unwrap();
        assert_eq!((told[0].sent_at_us, told[0].state(NOW_US + 5)), (Some(NOW_US + 4), ResendState::Sent));
        assert_eq!(told[0].state(NOW_US + HOUR_US), ResendState::Expired);
        assert!(store.open_resends(NOW_US + HOUR_US + 2, 0, 10).await.unwrap().is_empty());
        assert!(store.resends(Some("other"), "mon-1").await.unwrap().is_empty());
        let again = store.ask_resend(&at(NOW_US + HOUR_US), &asked).await.unwrap();
        assert!(again > other, "an expired one is asked for anew");
        let told: Vec<_> =
            audited(&store).await.into_iter().filter(|(act, _)| act == "resend_asked").collect();
        assert_eq!(told.len(), 3);
        let target = format!("st-mary/mon-1 epoch 7 lane 2 3-20 8 frames, request {id}");
        assert_eq!(told[0].1, target);
    });
}

#[test]
fn nonsense_is_refused_with_its_code_and_nothing_is_written() {
    on_both(|store| async move {
        registered(&store).await;
        let many: Vec<_> = (0..257).map(|n| n * 3 + 1..=n * 3 + 1).collect();
        #[allow(clippy::reversed_empty_ranges, reason = "it is what must be refused")]
        let backwards = 9..=3;
        let bad = [vec![], vec![0..=3], vec![backwards], vec![5..=9, 9..=12], vec![9..=9, 1..=2], many];
        let huge = [vec![1..=1_000_001], vec![1..=u64::MAX], vec![5..=i64::MAX as u64]];
        for ranges in bad.iter().chain(&huge) {
            let error = store.ask_resend(&at(NOW_US), &wish(ranges)).await.unwrap_err();
            assert_eq!(code(&error), "WL-RSD-001", "{ranges:?}");
        }
        for stream in [stream("mon-1", 0), stream("mon-1", 5), StreamId { epoch: 0, ..stream("mon-1", 2) }] {
            let error = store.ask_resend(&at(NOW_US), &NewResend { stream, ..wish(&[1..=2]) }).await;
            assert_eq!(code(&error.unwrap_err()), "WL-RSD-001");
        }
        let others = StreamId { tenant: "other".into(), ..stream("mon-1", 2) };
        for stream in [others, stream("mon-9", 2)] {
            let error = store.ask_resend(&at(NOW_US), &NewResend { stream, ..wish(&[1..=2]) }).await;
            assert_eq!(code(&error.unwrap_err()), "WL-REG-002");
        }
        for life_us in [0, -1, i64::MAX] {
            let error = store.ask_resend(&at(NOW_US), &NewResend { life_us, ..wish(&[1..=2]) }).await;
            assert_eq!(code(&error.unwrap_err()), "WL-RSD-001");
        }
        assert!(store.open_resends(NOW_US, 0, 10).await.unwrap().is_empty());
        for n in 0..RESENDS_OPEN_MAX as u64 {
            store.ask_resend(&at(NOW_US), &wish(&[n + 1..=n + 1])).await.unwrap();
        }
        let error = store.ask_resend(&at(NOW_US), &wish(&[90..=91])).await.unwrap_err();
        assert_eq!(code(&error), "WL-RSD-002");
        let of_another = NewResend { stream: stream("mon-2", 2), ..wish(&[90..=91]) };
        store.ask_resend(&at(NOW_US), &of_another).await.unwrap();
    });
}

#[test]
fn only_the_device_that_was_asked_answers_and_only_once() {
    on_both(|store| async move {
        registered(&store).await;
        let id = store.ask_resend(&at(NOW_US), &wish(&[3..=9])).await.unwrap();
        let catalog = Catalog::new(store.clone());
        let lease = catalog.take_over(0, 0).await.unwrap().number;
        let says = |tenant: &str, device: &str, id, resent| {
            let answer = ResendAnswer { id, resent, not_held: 2, beyond: u64::MAX };
            vec![(tenant.to_owned(), device.to_owned(), answer)]
        };
        let tries = [
            (says("st-mary", "mon-2", id, 9), None),
            (says("other", "mon-1", id, 9), None),
            (says("st-mary", "mon-1", u64::MAX, 9), None),
            (says("st-mary", "mon-1", id, 5), Some(5)),
            (says("st-mary", "mon-1", id, 7), Some(5)),
        ];
        for (resends, expected) in tries {
            catalog.commit(&Commit { lease, resends, ..Commit::default() }).await.unwrap();
            let told = store.resends(None, "mon-1").await.unwrap();
            assert_eq!(told[0].answer.as_ref().map(|answer| answer.resent), expected);
        }
        let told = store.resends(None, "mon-1").await.unwrap();
        assert_eq!(told[0].state(i64::MAX), ResendState::Answered);
        assert!(store.open_resends(NOW_US, 0, 10).await.unwrap().is_empty());
    });
}
