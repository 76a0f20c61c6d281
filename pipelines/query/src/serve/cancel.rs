//! Statements that run, so that who asked one ends it from another call: `CancelQuery` and `CancelFlightInfo`.
//!
//! A statement is named by random bytes in its ticket. They are of no use to anybody but the caller that asked: a name is
//! looked for among the caller's own.

use arrow_flight::sql::{Any, TicketStatementQuery};
use arrow_flight::{FlightInfo, Ticket};
use prost::Message;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

const NAME_BYTES: usize = 16;

/// The name of a statement.
pub(crate) type Name = [u8; NAME_BYTES];

/// Makes the ticket of a statement.
pub(crate) fn ticket(sql: &str) -> Option<TicketStatementQuery> {
    let mut name = [0; NAME_BYTES];
    SystemRandom::new().fill(&mut name).ok()?;
    Some(TicketStatementQuery { statement_handle: [&name[..], sql.as_bytes()].concat().into() })
}

/// Reads name and statement of a ticket.
pub(crate) fn read(ticket: &TicketStatementQuery) -> Option<(Name, &str)> {
    let (name, sql) = ticket.statement_handle.split_first_chunk()?;
    Some((*name, std::str::from_utf8(sql).ok()?))
}

/// Returns the names of the statements that an answer of `GetFlightInfo` has tickets of.
pub(crate) fn names(info: &FlightInfo) -> Vec<Name> {
    let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
    tickets.filter_map(name).collect()
}

fn name(ticket: &Ticket) -> Option<Name> {
    let any = Any::decode(&*ticket.ticket).ok()?;
    let ticket = any.unpack::<TicketStatementQuery>().ok()??;
    read(&ticket).map(|(name, _sql)| name)
}

type Ends = HashMap<(String, Name), Vec<Arc<Notify>>>;

/// Statements that run, by caller and name: as many as there are places for, and some that end.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<Ends>);

impl Running {
    /// Notes that a caller's statement runs, until what is returned is dropped.
    pub(crate) fn start(self: &Arc<Self>, caller: &str, name: Name) -> Run {
        let (key, end) = ((caller.to_owned(), name), Arc::new(Notify::new()));
        self.with(|ends| ends.entry(key.clone()).or_default().push(end.clone()));
        Run { running: self.clone(), key, end }
    }

    /// Ends a caller's statement; `false` when none of that name runs.
    pub(crate) fn cancel(&self, caller: &str, name: Name) -> bool {
        self.with(|ends| {
            let ends = ends.get(&(caller.to_owned(), name));
            // What does not listen yet hears it when it does.
            ends.into_iter().flatten().for_each(|end| end.notify_one());
            ends.is_some()
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Ends) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A statement that runs.
#[derive(Debug)]
pub(crate) struct Run {
    running: Arc<Running>,
    key: (String, Name),
    end: Arc<Notify>,
}

impl Run {
    /// Returns when its caller has cancelled it.
    pub(crate) async fn cancelled(&self) {
        self.end.notified().await;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.running.with(|all| {
            let Some(ends) = all.get_mut(&self.key) else { return };
            ends.retain(|end| !Arc::ptr_eq(end, &self.end));
            if ends.is_empty() {
                all.remove(&self.key);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_statement_is_ended_by_its_caller_alone_and_forgotten_when_it_ends() {
        let running = Arc::new(Running::default());
        let ticket = ticket("SELECT 1").unwrap();
        let (name, sql) = read(&ticket).unwrap();
        assert_eq!(sql, "SELECT 1");
        let run = running.start("a", name);
        assert!(!running.cancel("b", name) && run.cancelled().now_or_never().is_none());
        assert!(!running.cancel("a", [0; NAME_BYTES]) && run.cancelled().now_or_never().is_none());
        let again = running.start("a", name);
        assert!(running.cancel("a", name));
        assert!(run.cancelled().now_or_never().is_some() && again.cancelled().now_or_never().is_some());
        drop((run, again));
        assert!(!running.cancel("a", name) && running.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_ticket_that_is_none_names_nothing() {
        let short = TicketStatementQuery { statement_handle: b"short".to_vec().into() };
        assert!(read(&short).is_none());
        let torn = FlightInfo::new().with_endpoint(
            arrow_flight::FlightEndpoint::new().with_ticket(Ticket { ticket: b"x".to_vec().into() }),
        );
        assert!(names(&torn).is_empty());
    }
}
