//! A small MQTT 5 server over mutual TLS that does what a test tells it: acknowledge, refuse, swallow, hang up.

use super::Pki;
use bytes::BytesMut;
use prost::Message;
use rumqttc::v5::mqttbytes::Error;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PingResp, PubAck, PubAckReason,
};
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

type Script = Box<dyn FnMut(&Received, usize) -> Reaction + Send>;

#[derive(Default)]
struct State {
    script: Option<Script>,
    received: Vec<Received>,
    acked: BTreeSet<(i32, u64)>,
    connects: usize,
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
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        serve(tls, &state).await;
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

async fn serve(mut tls: impl AsyncReadExt + AsyncWriteExt + Unpin, state: &Mutex<State>) {
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
        let (reply, goes_on) = answer(packet, state);
        let mut bytes = BytesMut::new();
        if let Some(reply) = reply {
            reply.write(&mut bytes, None).unwrap();
        }
        if tls.write_all(&bytes).await.is_err() || tls.flush().await.is_err() || !goes_on {
            return;
        }
    }
}

fn answer(packet: Packet, state: &Mutex<State>) -> (Option<Packet>, bool) {
    let mut state = state.lock().unwrap();
    match packet {
        Packet::Connect(..) => {
            state.connects += 1;
            let connack =
                ConnAck { session_present: false, code: ConnectReturnCode::Success, properties: None };
            (Some(Packet::ConnAck(connack)), true)
        }
        Packet::PingReq(_) => (Some(Packet::PingResp(PingResp)), true),
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
            react(reaction, publish.pkid)
        }
        Packet::Disconnect(_) => (None, false),
        other => panic!("the agent sent {other:?}"),
    }
}

fn react(reaction: Reaction, pkid: u16) -> (Option<Packet>, bool) {
    let puback = |reason| Packet::PubAck(PubAck { pkid, reason, properties: None });
    match reaction {
        Reaction::Ack => (Some(puback(PubAckReason::Success)), true),
        Reaction::Refuse(reason) => (Some(puback(reason)), true),
        Reaction::Swallow => (None, true),
        Reaction::Disconnect(code) => (Some(Packet::Disconnect(Disconnect::new(code))), false),
        Reaction::HangUp => (None, false),
    }
}
