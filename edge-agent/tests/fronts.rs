//! Which front is called: in order, past those that do not answer, where a gateway sends us, and back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Device, Est, Gateway, PATIENCE, Pki, Welcome, enrolled, numeric, start, until};
use tempfile::tempdir;
use wardline_edge::{AgentHandle, status};
use wardline_proto::v1::Lane;

fn addr(gateway: &Gateway) -> String {
    format!("localhost:{}", gateway.addr.port())
}

/// The address of a gateway that is gone.
async fn dead(pki: &Pki) -> String {
    addr(&Gateway::start(pki).await)
}

/// Sends a reading and waits until a gateway has acknowledged it.
async fn send(agent: &AgentHandle, device: &mut Device, value: f64) {
    device.send(numeric(value)).await;
    device.wait_acked().await;
    assert!(agent.wait_until_sent(PATIENCE).await, "{:?}", agent.stats());
}

fn notices(spool: &Path) -> Vec<String> {
    let status = status::read(spool).map(|status| status.notices).unwrap_or_default();
    status.into_iter().map(|notice| notice.text).collect()
}

#[tokio::test]
async fn the_next_front_is_called_when_one_does_not_answer_and_the_first_again_when_it_is_back() {
    let (pki, dir) = (Arc::new(Pki::new()), tempdir().unwrap());
    let (first, second) = (Gateway::start(&pki).await, Gateway::start(&pki).await);
    let est = Est::start(Arc::clone(&pki)).await;
    est.with(|state| state.fronts = vec![addr(&first), addr(&second)]);
    let mut options = enrolled(&est, dir.path()).await;
    options.renewal.return_after = Duration::from_millis(300);
    let first_addr = first.addr;
    drop(first);
    let agent = start(options).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    send(&agent, &mut device, 1.0).await;
    assert_eq!(second.acked(Lane::Numerics), [1]);

    let first = Gateway::start_on(&pki, first_addr).await;
    until("the first is called again", || first.connects() > 0).await;
    send(&agent, &mut device, 2.0).await;
    assert_eq!(first.acked(Lane::Numerics), [2]);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_list_that_leads_nowhere_is_fetched_anew() {
    let (pki, dir) = (Arc::new(Pki::new()), tempdir().unwrap());
    let (est, gateway) = (Est::start(Arc::clone(&pki)).await, Gateway::start(&pki).await);
    let dead = dead(&pki).await;
    est.with(|state| state.fronts = vec![dead]);
    let options = enrolled(&est, dir.path()).await;
    est.with(|state| state.fronts = vec![addr(&gateway)]);
    let agent = start(options).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    send(&agent, &mut device, 1.0).await;
    assert!(est.with(|state| state.lists_given) >= 2);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_gateway_sends_the_agent_elsewhere_before_and_after_it_let_it_in() {
    let (pki, dir) = (Arc::new(Pki::new()), tempdir().unwrap());
    let (one, two, three) =
        (Gateway::start(&pki).await, Gateway::start(&pki).await, Gateway::start(&pki).await);
    let est = Est::start(Arc::clone(&pki)).await;
    est.with(|state| state.fronts = vec![addr(&one)]);
    let (to_two, to_three) = (addr(&two), addr(&three));
    one.door(move |_, _| Welcome::Redirect(format!("bad/reference {to_two}")));
    two.door(move |_, _| Welcome::AcceptThenMove(to_three.clone()));
    let agent = start(enrolled(&est, dir.path()).await).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    send(&agent, &mut device, 1.0).await;
    assert_eq!((one.connects(), two.connects(), three.acked(Lane::Numerics)), (1, 1, vec![1]));
    until("a moved server makes the list be fetched", || est.with(|state| state.lists_given) == 2).await;
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn redirects_in_a_circle_are_followed_five_times_and_then_reported() {
    let (pki, dir) = (Arc::new(Pki::new()), tempdir().unwrap());
    let (one, two) = (Gateway::start(&pki).await, Gateway::start(&pki).await);
    let est = Est::start(Arc::clone(&pki)).await;
    est.with(|state| state.fronts = vec![addr(&one)]);
    let (to_one, to_two) = (addr(&one), addr(&two));
    one.door(move |_, _| Welcome::Redirect(to_two.clone()));
    two.door(move |_, _| Welcome::Redirect(to_one.clone()));
    let mut options = enrolled(&est, dir.path()).await;
    // Long enough that only one round happens while we look.
    options.backoff.delay_min = Duration::from_secs(30);
    options.backoff.delay_max = Duration::from_secs(30);
    let spool = options.spool_dir.clone();
    let agent = start(options).await;
    until("the circle is reported", || notices(&spool).iter().any(|n| n.contains("WL-EDGE-009"))).await;
    assert_eq!(one.connects() + two.connects(), 6);
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_redirect_to_another_authority_is_not_followed_past_tls() {
    let (pki, dir) = (Arc::new(Pki::new()), tempdir().unwrap());
    let (one, stranger) = (Gateway::start(&pki).await, Gateway::start(&Pki::new()).await);
    let est = Est::start(Arc::clone(&pki)).await;
    est.with(|state| state.fronts = vec![addr(&one)]);
    let to_stranger = addr(&stranger);
    one.door(
        move |_, count| if count == 1 { Welcome::Redirect(to_stranger.clone()) } else { Welcome::Accept },
    );
    let agent = start(enrolled(&est, dir.path()).await).await;
    let mut device = Device::new(7);
    device.connect(agent.link_addr()).await;
    send(&agent, &mut device, 1.0).await;
    assert_eq!((stranger.connects(), one.acked(Lane::Numerics)), (0, vec![1]));
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn notices_are_acknowledged_and_shown() {
    let (pki, dir) = (Arc::new(Pki::new()), tempdir().unwrap());
    let (est, gateway) = (Est::start(Arc::clone(&pki)).await, Gateway::start(&pki).await);
    est.with(|state| state.fronts = vec![addr(&gateway)]);
    gateway.notice(r#"{"code":"WL-Q-004","lane":"numerics","seq":7}"#);
    let options = enrolled(&est, dir.path()).await;
    let spool = options.spool_dir.clone();
    let agent = start(options).await;
    until("the notice is shown", || notices(&spool).iter().any(|n| n.contains("WL-Q-004"))).await;
    until("the notice is acknowledged", || gateway.notices_acked() == 1).await;
    let shown = status::read(&spool).unwrap().to_string();
    assert!(shown.contains("s ago  {\"code\":\"WL-Q-004\"") && shown.contains("29 days left"), "{shown}");
    assert!(shown.contains(&addr(&gateway)), "{shown}");
    agent.shutdown().await.unwrap();
}

#[tokio::test]
async fn without_a_server_and_without_a_list_the_agent_says_what_to_do() {
    let (pki, dir) = (Pki::new(), tempdir().unwrap());
    let mut options = support::options(&pki.device("m-1"), dir.path(), 1);
    options.server = None;
    let error = wardline_edge::Agent::start(options).await.err().expect("started").to_string();
    assert!(error.contains("services.json") && error.contains("--server"), "{error}");
}
