//! Supervised tasks: every kind says what its end means, however it ends.

use super::NodeError;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long one step of the drain may take, beside what a front takes to send its devices on.
pub(super) const STOP_MAX: Duration = Duration::from_secs(30);

/// The tasks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// Accepts devices. Without it the node is of no use.
    Front,
    /// Archives. When it fails for good, the node stops in order, so that it is started anew.
    Archive,
    /// Decides on alarms. As the archive: silence must not pass for health (ALR-2).
    Alert,
    /// Escalates, ends pauses, and watches over the alarm service. As the alarm engine.
    AlertWatch,
    /// Sends alerts to webhooks. As the alarm engine: whoever hears through one hears nothing without it.
    Webhooks,
    /// Serves subscribers. As the alarm engine.
    Grpc,
    /// Follows the registry. Without it a revocation would not act (SEC-2).
    Registry,
    /// Enrols devices. The node goes on without it: whoever has a certificate is served.
    Enrol,
    /// Metrics and health. The node goes on without it.
    Http,
    /// Brings outbox and counted refusals into the audit chain. What cannot be audited is not done, so the node stops with it.
    Audit,
    /// Tells devices of their frames in the quarantine. A hint; the node goes on without it.
    Notices,
    /// Gives devices the requests to send again. They stay in the database; the node goes on without it.
    Resends,
    /// Drops old segments. The node goes on without it until the journal is full, which is visible.
    Retention,
    /// Carries records to the engine of the bus and back. Without it nothing leaves the journal.
    Bus,
    /// Publishes the journal. As the bus.
    Outlet,
    /// Tells the outlet what workers confirm. It never ends by itself.
    Courier,
    /// Watches certificates and what expires. The node goes on with what is loaded.
    Certificates,
}

impl TaskKind {
    /// Says whether the node stops when such a task ends by itself.
    pub fn is_vital(self) -> bool {
        match self {
            Self::Front
            | Self::Archive
            | Self::Alert
            | Self::AlertWatch
            | Self::Webhooks
            | Self::Grpc
            | Self::Registry
            | Self::Audit
            | Self::Bus
            | Self::Outlet
            | Self::Courier => true,
            Self::Enrol
            | Self::Http
            | Self::Notices
            | Self::Resends
            | Self::Retention
            | Self::Certificates => false,
        }
    }
}

struct Task {
    kind: TaskKind,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

/// The running tasks.
pub(super) struct Tasks {
    tasks: Vec<Task>,
    ended: watch::Sender<Option<TaskKind>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { tasks: Vec::new(), ended: watch::Sender::new(None) }
    }
}

/// Tells of a vital task's end, also when it panics.
struct Ended {
    kind: TaskKind,
    stop: watch::Receiver<bool>,
    ended: watch::Sender<Option<TaskKind>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if !*self.stop.borrow() && self.kind.is_vital() {
            self.ended.send_replace(Some(self.kind));
        }
    }
}

impl Tasks {
    /// Spawns a task. It must end soon after its flag turns true; it is told nothing else.
    pub(super) fn spawn<F>(&mut self, kind: TaskKind, task: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let ended = Ended { kind, stop: stopped.clone(), ended: self.ended.clone() };
        let task = task(stopped);
        let handle = tokio::spawn(async move {
            let _told_at_the_end = ended;
            if let Err(error) = task.await {
                tracing::error!(?kind, %error, "a task failed");
            }
        });
        self.tasks.push(Task { kind, stop, handle });
    }

    /// Follows the end of vital tasks.
    pub(super) fn ended(&self) -> watch::Receiver<Option<TaskKind>> {
        self.ended.subscribe()
    }

    /// Waits until a vital task has ended without being told to.
    pub(super) async fn vital_ended(&self) -> TaskKind {
        let mut ended = self.ended.subscribe();
        let kind = ended.wait_for(Option::is_some).await.map(|kind| *kind);
        match kind {
            Ok(Some(kind)) => kind,
            // The sender lives in `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Stops the tasks of these kinds and waits for them.
    pub(super) async fn stop(&mut self, kinds: &[TaskKind], within: Duration) -> Result<(), NodeError> {
        let (mut stopping, rest): (Vec<Task>, Vec<Task>) =
            std::mem::take(&mut self.tasks).into_iter().partition(|task| kinds.contains(&task.kind));
        self.tasks = rest;
        for task in &stopping {
            task.stop.send_replace(true);
        }
        let mut failed = None;
        for task in &mut stopping {
            match timeout(within, &mut task.handle).await {
                Ok(Ok(())) => {}
                Ok(Err(_panicked)) => failed = failed.or(Some(task.kind)),
                Err(_elapsed) => {
                    tracing::error!(kind = ?task.kind, "a task did not stop in time");
                    task.handle.abort();
                    failed = failed.or(Some(task.kind));
                }
            }
        }
        failed.map_or(Ok(()), |kind| Err(NodeError::Task(kind)))
    }
}
