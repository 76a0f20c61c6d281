//! A wire to the store that can be cut, and that loses answers on purpose.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const CHUNK: usize = 64 * 1024;

/// What the wire does now.
#[derive(Debug, Default)]
struct State {
    swallows_puts: AtomicBool,
    swallowed: AtomicU64,
    answered_bytes: AtomicU64,
}

/// A proxy before the store. It ends when it is dropped.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Listens on a free port and passes everything on to `port` of loopback.
    pub async fn to(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (own, state) = (listener.local_addr()?.port(), Arc::new(State::default()));
        let of_task = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                let is_lost = Arc::new(AtomicBool::new(false));
                tokio::spawn(ask(from_client, to_server, of_task.clone(), is_lost.clone()));
                tokio::spawn(answer(from_server, to_client, of_task.clone(), is_lost));
            }
        });
        Ok(Self { port: own, state, task })
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Loses the answers to puts of files of rows, which reach the store, or no longer does.
    pub fn swallow_puts(&self, swallow: bool) {
        self.state.swallows_puts.store(swallow, Ordering::SeqCst);
    }

    /// Returns how many answers were lost.
    pub fn swallowed(&self) -> u64 {
        self.state.swallowed.load(Ordering::SeqCst)
    }

    /// Returns how many bytes the store has answered, headers and all.
    pub fn answered_bytes(&self) -> u64 {
        self.state.answered_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>, is_lost: Arc<AtomicBool>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let head = chunk[..length].split(|byte| *byte == b'\r').next().unwrap_or_default();
        let is_put = head.starts_with(b"PUT ") && head.windows(8).any(|window| window == b".parquet");
        if is_put && state.swallows_puts.load(Ordering::SeqCst) {
            is_lost.store(true, Ordering::SeqCst);
            state.swallowed.fetch_add(1, Ordering::SeqCst);
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

async fn answer(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: Arc<State>,
    is_lost: Arc<AtomicBool>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        state.answered_bytes.fetch_add(length as u64, Ordering::SeqCst);
        if !is_lost.load(Ordering::SeqCst) && to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
