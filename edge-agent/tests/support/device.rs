//! A device on the link: numbers its bodies, keeps what is not acknowledged, sends it again after a reconnect.

use super::PATIENCE;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wardline_edge::LinkAddr;
use wardline_proto::link::{self, Decoder};
use wardline_proto::v1::{Body, LinkDown, LinkHello, LinkTime, LinkUp, link_up::Kind};

pub struct Device {
    boot_id: u64,
    next_seq: u64,
    unacked: VecDeque<LinkUp>,
    stream: Option<TcpStream>,
    decoder: Decoder,
    pub acked_seq: u64,
}

impl Device {
    pub fn new(boot_id: u64) -> Self {
        let decoder = Decoder::default();
        Self { boot_id, next_seq: 1, unacked: VecDeque::new(), stream: None, decoder, acked_seq: 0 }
    }

    /// Connects, says hello, tells the time and sends again what is not acknowledged.
    pub async fn connect(&mut self, addr: &LinkAddr) {
        self.stream = Some(TcpStream::connect(addr.tcp().unwrap()).await.unwrap());
        self.decoder = Decoder::default();
        let hello = LinkHello { boot_id: self.boot_id, ..LinkHello::default() };
        let acked = self.unacked.front().map_or(self.next_seq, |first| first.seq) - 1;
        self.write(&LinkUp { seq: acked, kind: Some(Kind::Hello(hello)) }).await;
        self.write(&LinkUp { seq: 0, kind: Some(Kind::Time(LinkTime { now_us: 1 })) }).await;
        for message in self.unacked.clone() {
            self.write(&message).await;
        }
    }

    /// Sends a body and keeps it.
    pub async fn send(&mut self, body: Body) {
        let message = LinkUp { seq: self.next_seq, kind: Some(Kind::Body(body)) };
        self.next_seq += 1;
        self.write(&message).await;
        self.unacked.push_back(message);
    }

    /// Takes a position without sending anything: the message was damaged on its way.
    pub fn skip(&mut self) {
        self.next_seq += 1;
    }

    /// Sends the skipped message, then again what followed it.
    pub async fn fill_skipped(&mut self, body: Body) {
        let seq = self.unacked.front().unwrap().seq - 1;
        self.unacked.push_front(LinkUp { seq, kind: Some(Kind::Body(body)) });
        for message in self.unacked.clone() {
            self.write(&message).await;
        }
    }

    /// Connects to an agent that is just starting.
    pub async fn connect_when_up(&mut self, addr: &LinkAddr) {
        let up = async {
            while TcpStream::connect(addr.tcp().unwrap()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("the agent did not come up");
        self.connect(addr).await;
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.as_mut().unwrap().write_all(bytes).await.unwrap();
    }

    /// Reads acknowledgements until everything is acknowledged.
    pub async fn wait_acked(&mut self) {
        let all = async {
            while !self.unacked.is_empty() {
                self.read_ack().await;
            }
        };
        timeout(PATIENCE, all).await.expect("the agent did not acknowledge");
    }

    /// Reads acknowledgements for a while, whatever comes; returns how many were read.
    pub async fn read_acks_for(&mut self, time: Duration) -> usize {
        let mut count = 0;
        while timeout(time, self.read_ack()).await.is_ok() {
            count += 1;
        }
        count
    }

    /// Forgets that anything above `seq` was acknowledged: as if the acknowledgement had been lost.
    pub fn forget_acks(&mut self, bodies: impl IntoIterator<Item = (u64, Body)>) {
        self.unacked =
            bodies.into_iter().map(|(seq, body)| LinkUp { seq, kind: Some(Kind::Body(body)) }).collect();
        self.acked_seq = 0;
    }

    async fn read_ack(&mut self) {
        let mut bytes = [0; 1024];
        loop {
            if let Some(down) = self.decoder.next_message::<LinkDown>() {
                self.acked_seq = down.unwrap().acked_seq;
                let acked = self.acked_seq;
                self.unacked.retain(|message| message.seq > acked);
                return;
            }
            let n = self.stream.as_mut().unwrap().read(&mut bytes).await.unwrap();
            assert!(n > 0, "the agent closed the link");
            self.decoder.push(&bytes[..n]);
        }
    }

    async fn write(&mut self, message: &LinkUp) {
        let mut bytes = Vec::new();
        link::encode(message, &mut bytes).unwrap();
        self.send_raw(&bytes).await;
    }
}
