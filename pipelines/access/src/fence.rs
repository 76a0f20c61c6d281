//! Waits until a certificate may no longer be used, or its owner's duties are others, and ends a stream when that
//! happens.

use super::{Access, Caller, Shared, now_us};
use futures::Stream;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::sleep;
use tonic::Status;
use wardline_proto::refusal::Refusal;
use wardline_store::registry::Serial;

/// Waits until the certificate is revoked or its life is over.
pub(super) async fn fenced(shared: Arc<Shared>, serial: Serial, not_after_s: i64) -> Refusal {
    let (mut registry, mut lists) = (shared.directory.changes(), shared.tls.changes());
    loop {
        if shared.revokes(&serial) {
            return Refusal::IdentityRevoked;
        }
        // The certificate is good through its last second.
        let left_us = not_after_s.saturating_add(1).saturating_mul(1_000_000).saturating_sub(now_us());
        if left_us <= 0 {
            return Refusal::IdentityExpired;
        }
        let left = Duration::from_micros(left_us as u64);
        tokio::select! {
            // Their senders live in `shared`.
            _told = registry.changed() => {}
            _told = lists.changed() => {}
            // In short steps: the wall clock may be set while this waits.
            () = sleep(left.min(CLOCK_STEP)) => {}
        }
    }
}

/// Waits until the registry gives a caller other roles or sites than it came with.
async fn changed(shared: Arc<Shared>, caller: Caller) -> Refusal {
    let mut registry = shared.directory.changes();
    loop {
        let (roles, sites) =
            (shared.directory.roles(&caller.identity), shared.directory.sites(&caller.identity));
        if roles != caller.roles || sites != caller.sites {
            return Refusal::IdentityChanged;
        }
        // Its sender lives in `shared`.
        let _told = registry.changed().await;
    }
}

/// How often the wall clock is looked at again.
const CLOCK_STEP: Duration = Duration::from_secs(60);

/// A stream that ends with its caller's certificate, and when its caller's duties change.
pub struct Guarded<S> {
    access: Access,
    uri: String,
    /// `None` once it is cut: what is queued in it goes with it.
    stream: Option<S>,
    fence: Pin<Box<dyn Future<Output = Refusal> + Send>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(access: Access, caller: &Caller, stream: S) -> Self {
        let used = fenced(access.shared.clone(), caller.serial.clone(), caller.not_after_s);
        let duties = changed(access.shared.clone(), caller.clone());
        let fence = async move {
            tokio::select! {
                // Whose certificate is no good is told that.
                biased;
                refusal = used => refusal,
                refusal = duties => refusal,
            }
        };
        Self { access, uri: caller.uri.clone(), stream: Some(stream), fence: Box::pin(fence) }
    }
}

impl<S, T> Stream for Guarded<S>
where
    S: Stream<Item = Result<T, Status>> + Unpin,
{
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stream.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(refusal) = self.fence.as_mut().poll(cx) {
            self.stream = None;
            return Poll::Ready(Some(Err(self.access.refused(&self.uri, refusal, "stream"))));
        }
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}
