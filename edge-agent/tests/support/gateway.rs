//! A small MQTT 5 server over mutual TLS that does what a test tells it: acknowledge, refuse, swallow, hang up.

use super::Pki;
use bytes::{Bytes, BytesMut};
use prost::Message;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, ConnectReturnCode, Disconnect, DisconnectProperties, DisconnectReasonCode,
    Packet, PingResp, PubAck, PubAckReason, Publish, SubAck, Subscribe, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{Error, QoS};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use wardline_proto::frame;
use wardline_proto::v1::{Body, Frame, Lane};

/// What the gateway does with a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    Ack,
    Refuse(PubAckReason),
    Swallow,
    Disconnect(DisconnectReasonCode),
    HangUp,
}

/// A publish as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub topic: String,
    pub lane: Lane,
    pub epoch: u64,
    pub seq: u64,
    pub bytes: Vec<u8>,
}

impl Received {
    pub fn body(&self) -> Body {
        frame::decode_body(&Frame::decode(self.bytes.as_slice()).unwrap()).unwrap()
    }
}

/// What the gateway does with a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    Accept,
    Refuse(ConnectReturnCode),
    /// CONNACK "use another server".
    Redirect(String),
    /// CONNACK success, then DISCONNECT "server moved".
    AcceptThenMove(String),
}

type Door = Box<dyn FnMut(&str, usize) -> Welcome + Send>;
type Script = Box<dyn FnMut(&Received, usize) -> Reaction + Send>;

#[derive(Default)]
struct State {
    script: Option<Script>,
    received: Vec<Received>,
    acked: BTreeSet<(i32, u64)>,
    connects: usize,
    door: Option<Door>,
    /// Serial numbers of the certificates that connected, and whether they were let in.
    visitors: Vec<(String, bool)>,
    notices: Vec<Bytes>,
    notices_acked: usize,
    /// Commands that go out when the agent next subscribes or publishes.
    commands: Vec<Bytes>,
}

pub struct Gateway {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Gateway {
    /// Listens; acknowledges everything until [`Gateway::script`] says otherwise.
    pub async fn start(pki: &Pki) -> Self {
        Self::start_on(pki, ([127, 0, 0, 1], 0).into()).await
    }

    pub async fn start_on(pki: &Pki, addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(pki.server());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                // Or answers that wait for their turn would be lost with a connection that is hung up.
                tcp.set_nodelay(true).unwrap();
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        let serial = super::pki::serial(&tls.get_ref().1.peer_certificates().unwrap()[0]);
                        serve(tls, &serial, &state).await;
                    }
                });
            }
        });
        Self { addr, state, accepting }
    }

    /// Sets what to do with each publish; the second argument counts publishes from 1.
    pub fn script(&self, script: impl FnMut(&Received, usize) -> Reaction + Send + 'static) {
        self.state.lock().unwrap().script = Some(Box::new(script));
    }

    /// Sets what to do with each CONNECT, by the certificate's serial number and the count of connects from 1.
    pub fn door(&self, door: impl FnMut(&str, usize) -> Welcome + Send + 'static) {
        self.state.lock().unwrap().door = Some(Box::new(door));
    }

    /// Serial numbers of the certificates that connected, and whether they were let in.
    pub fn visitors(&self) -> Vec<(String, bool)> {
        self.state.lock().unwrap().visitors.clone()
    }

    /// Sends a notice to whoever subscribes next.
    pub fn notice(&self, words: &str) {
        self.state.lock().unwrap().notices.push(Bytes::copy_from_slice(words.as_bytes()));
    }

    /// Sends a command with the next answer to a subscription or a publish.
    pub fn command(&self, payload: Bytes) {
        self.state.lock().unwrap().commands.push(payload);
    }

    pub fn notices_acked(&self) -> usize {
        self.state.lock().unwrap().notices_acked
    }

    /// Everything that came, in order, repeats included.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Positions that were acknowledged in `lane`.
    pub fn acked(&self, lane: Lane) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        state.acked.iter().filter(|(of, _)| *of == lane as i32).map(|(_, seq)| *seq).collect()
    }

    pub fn connects(&self) -> usize {
        self.state.lock().unwrap().connects
    }

    /// Bodies of `lane` by position, each once. Fails when a position came twice with other bytes.
    pub fn bodies(&self, lane: Lane) -> Vec<(u64, Body)> {
        let mut received = self.received();
        received.retain(|one| one.lane == lane);
        received.sort_by_key(|one| one.seq);
        received.dedup_by(|again, first| {
            let is_same = again.seq == first.seq;
            assert!(!is_same || again.bytes == first.bytes, "seq {} came with other bytes", first.seq);
            is_same
        });
        received.iter().map(|one| (one.seq, one.body())).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut tls: impl AsyncReadExt + AsyncWriteExt + Unpin, serial: &str, state: &Mutex<State>) {
    let mut incoming = BytesMut::new();
    loop {
        let packet = loop {
            match Packet::read(&mut incoming, None) {
                Ok(packet) => break packet,
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the agent sent what does not decode: {error}"),
            }
            if !matches!(tls.read_buf(&mut incoming).await, Ok(n) if n > 0) {
                return;
            }
        };
        let (replies, goes_on) = answer(packet, serial, state);
        let mut bytes = BytesMut::new();
        for reply in replies {
            reply.write(&mut bytes, None).unwrap();
        }
        if tls.write_all(&bytes).await.is_err() || tls.flush().await.is_err() || !goes_on {
            return;
        }
    }
}

fn answer(packet: Packet, serial: &str, state: &Mutex<State>) -> (Vec<Packet>, bool) {
    let mut state = state.lock().unwrap();
    match packet {
        Packet::Connect(..) => {
            state.connects += 1;
            let count = state.connects;
            let welcome = state.door.as_mut().map_or(Welcome::Accept, |door| door(serial, count));
            state.visitors.push((serial.to_owned(), welcome == Welcome::Accept));
            welcomed(welcome)
        }
        Packet::PingReq(_) => (vec![Packet::PingResp(PingResp)], true),
        Packet::Publish(publish) => {
            let (header, _) = frame::decode(publish.payload.clone()).unwrap();
            let received = Received {
                topic: String::from_utf8(publish.topic.to_vec()).unwrap(),
                lane: header.lane,
                epoch: header.epoch,
                seq: header.seq,
                bytes: publish.payload.to_vec(),
            };
            state.received.push(received.clone());
            let count = state.received.len();
            let reaction = state.script.as_mut().map_or(Reaction::Ack, |script| script(&received, count));
            if reaction == Reaction::Ack {
                state.acked.insert((header.lane as i32, header.seq));
            }
            let topic = received.topic.split("/up/").next().unwrap().to_owned() + "/down/command";
            let commands = commands(&mut state, &topic);
            let (mut replies, goes_on) = react(reaction, publish.pkid);
            replies.extend(commands);
            (replies, goes_on)
        }
        Packet::Subscribe(subscribe) => {
            let topic = subscribe.filters[0].path.clone();
            let notices = std::mem::take(&mut state.notices).into_iter().zip(1..).map(|(payload, pkid)| {
                let mut publish = Publish::new(topic.clone(), QoS::AtLeastOnce, payload, None);
                publish.pkid = pkid;
                Packet::Publish(publish)
            });
            let replies: Vec<_> = [subscribed(&subscribe)].into_iter().chain(notices).collect();
            let commands = commands(&mut state, &subscribe.filters[1].path);
            (replies.into_iter().chain(commands).collect(), true)
        }
        Packet::PubAck(_) => {
            state.notices_acked += 1;
            (Vec::new(), true)
        }
        Packet::Disconnect(_) => (Vec::new(), false),
        other => panic!("the agent sent {other:?}"),
    }
}

fn commands(state: &mut State, topic: &str) -> Vec<Packet> {
    let commands = std::mem::take(&mut state.commands).into_iter().zip(1_000..);
    let publish = |(payload, pkid)| {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload, None);
        publish.pkid = pkid;
        Packet::Publish(publish)
    };
    commands.map(publish).collect()
}

fn subscribed(subscribe: &Subscribe) -> Packet {
    let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
    Packet::SubAck(SubAck {
        pkid: subscribe.pkid,
        return_codes: vec![granted; subscribe.filters.len()],
        properties: None,
    })
}

fn welcomed(welcome: Welcome) -> (Vec<Packet>, bool) {
    let connack = |code, server_reference| {
        let properties = ConnAckProperties { server_reference, ..no_properties() };
        Packet::ConnAck(ConnAck { session_present: false, code, properties: Some(properties) })
    };
    match welcome {
        Welcome::Accept => (vec![connack(ConnectReturnCode::Success, None)], true),
        Welcome::Refuse(code) => (vec![connack(code, None)], false),
        Welcome::Redirect(to) => (vec![connack(ConnectReturnCode::UseAnotherServer, Some(to))], false),
        Welcome::AcceptThenMove(to) => {
            let properties = DisconnectProperties {
                session_expiry_interval: None,
                reason_string: None,
                user_properties: Vec::new(),
                server_reference: Some(to),
            };
            let mut moved = Disconnect::new(DisconnectReasonCode::ServerMoved);
            moved.properties = Some(properties);
            (vec![connack(ConnectReturnCode::Success, None), Packet::Disconnect(moved)], false)
        }
    }
}

fn no_properties() -> ConnAckProperties {
    ConnAckProperties {
        session_expiry_interval: None,
        receive_max: None,
        max_qos: None,
        retain_available: None,
        max_packet_size: None,
        assigned_client_identifier: None,
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: None,
        shared_subscription_available: None,
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    }
}

fn react(reaction: Reaction, pkid: u16) -> (Vec<Packet>, bool) {
    let puback = |reason| vec![Packet::PubAck(PubAck { pkid, reason, properties: None })];
    match reaction {
        Reaction::Ack => (puback(PubAckReason::Success), true),
        Reaction::Refuse(reason) => (puback(reason), true),
        Reaction::Swallow => (Vec::new(), true),
        Reaction::Disconnect(code) => (vec![Packet::Disconnect(Disconnect::new(code))], false),
        Reaction::HangUp => (Vec::new(), false),
    }
}
