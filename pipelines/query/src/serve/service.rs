//! Flight SQL: what clients call, each call for the caller that its certificate names.
//!
//! A ticket holds the statement itself and gives no right: who redeems it is judged again, against a new snapshot.

use super::audit::OutboxAudit;
use super::cancel::{self, Running};
use super::grants::Grant;
use super::info::sql_info;
use super::parsed::{Parsed, Statements};
use super::pump::{Bounds, held, plan_noted, pump};
use super::slots::{Slot, Slots};
use super::statement;
use crate::error::QueryError;
use crate::mask::Mask;
use crate::output::noted;
use crate::pseudonyms;
use crate::snapshot::{Planned, Shared};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandGetCatalogs, CommandGetDbSchemas,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandStatementQuery, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor,
    FlightEndpoint, FlightInfo, Ticket,
};
use futures::{Stream, TryStreamExt, stream};
use prost::Message;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::runtime::Handle;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use wardline_access::{Access, CODE_METADATA, Caller, RefusalAudit};
use wardline_proto::refusal::Refusal;

/// Names that clients ask for; there is one of each.
const CATALOG: &str = "wardline";
const SCHEMA: &str = "public";
const VIEW: &str = "VIEW";
/// The newer name of `CancelQuery`.
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

/// What the service is made of.
pub(crate) struct Parts {
    pub(crate) data_dir: PathBuf,
    pub(crate) access: Access,
    pub(crate) audit: Arc<OutboxAudit>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) running: Arc<Running>,
    /// Where statements run: what they do never holds up who is cut and who is let in.
    pub(crate) engine: Handle,
    pub(crate) bounds: Bounds,
    pub(crate) time_step_s: u32,
    pub(crate) shared: Shared,
    pub(crate) statements: Arc<Statements>,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct QueryService(pub(crate) Arc<Parts>);

type Rows = Pin<Box<dyn Stream<Item = Result<arrow_flight::FlightData, Status>> + Send>>;

impl QueryService {
    /// Returns who calls and what their roles grant; a refusal is audited.
    pub(crate) fn admit<T>(&self, request: &Request<T>) -> Result<(Caller, Grant), Status> {
        let caller = self.0.access.caller(request)?;
        let grant = Grant::of(&caller).map_err(|error| self.refused(&caller, &error))?;
        Ok((caller, grant))
    }

    /// Audits a refusal and makes its status.
    pub(crate) fn refused(&self, caller: &Caller, error: &QueryError) -> Status {
        if self.0.audit.refused(caller.uri(), error.refusal(), "query").is_err() {
            tracing::error!(refusal = %error.refusal(), "a refusal could not be audited");
        }
        status(error)
    }

    /// Takes a place to plan or run something in: before anything is read for it.
    fn slot(&self, caller: &Caller) -> Result<Slot, Status> {
        self.0.slots.take(caller.uri()).map_err(|error| self.refused(caller, &error))
    }

    /// Understands a statement in a place; what it may not ask is refused.
    async fn parse(
        &self,
        (caller, grant): (&Caller, Grant),
        sql: &str,
        slot: &Slot,
    ) -> Result<Arc<Parsed>, Status> {
        if let Some(known) = self.0.statements.known(grant, sql) {
            return Ok(known);
        }
        let (statements, own) = (self.0.statements.clone(), sql.to_owned());
        // Whoever begins with a long one ends it, whether or not the caller still waits.
        let parsed = held(slot.clone(), async move { statements.parse(grant, &own).await });
        parsed.await.map_err(|error| match error {
            QueryError::NotGranted { .. } => self.refused(caller, &error),
            error => status(&error),
        })
    }

    /// Returns what hides names from the caller, if anything does.
    pub(crate) async fn mask(&self, caller: &Caller, grant: Grant) -> Result<Option<Arc<Mask>>, QueryError> {
        if grant == Grant::Identified {
            return Ok(None);
        }
        let Parts { data_dir, time_step_s, shared, .. } = &*self.0;
        let mask = pseudonyms::shared_mask(data_dir, &caller.tenant, *time_step_s, shared).await;
        mask.map(Some).map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "the key of pseudonyms is not there");
            QueryError::Archive("the key of the tenant's pseudonyms is not there".into())
        })
    }

    /// Plans a statement over what is there now, audits it, and counts how complete that is.
    async fn start(
        &self,
        (caller, grant): (&Caller, Grant),
        sql: &str,
        slot: &Slot,
    ) -> Result<(SchemaRef, Planned), Status> {
        let Parts { engine, bounds, audit, .. } = &*self.0;
        let parsed = self.parse((caller, grant), sql, slot).await?;
        let (service, of, what) = (self.clone(), caller.clone(), parsed.clone());
        // The journal and a key service are waited for, whether or not the caller still waits.
        let opening = held(slot.clone(), async move {
            let (parts, mask) = (&service.0, service.mask(&of, grant).await?);
            statement::open((&parts.data_dir, &parts.shared), &of, grant, mask, &what).await
        });
        let planned = async {
            let (opened, rows) = opening.await?;
            plan_noted(engine, opened, rows, (slot.clone(), *bounds)).await
        };
        // No row is read before both are done.
        let started = tokio::try_join!(audit.reads(caller, sql, &parsed.tables), planned);
        let ((), (planned, note)) = started.map_err(|error: QueryError| status(&error))?;
        Ok((Arc::new(noted(parsed.columns(), note.as_deref())), planned))
    }

    /// Ends the statement of an answer when it is the caller's and runs.
    fn cancel<T>(&self, request: &Request<T>, info: &FlightInfo) -> Result<CancelStatus, Status> {
        let (caller, _grant) = self.admit(request)?;
        let mut names = cancel::names(info).into_iter();
        let runs = names.any(|name| self.0.running.cancel(caller.uri(), name));
        Ok(if runs { CancelStatus::Cancelling } else { CancelStatus::NotCancellable })
    }

    /// Gives rows that are no measurements: what there is to ask for.
    fn listing(&self, caller: &Caller, batch: RecordBatch) -> Response<Rows> {
        let schema = batch.schema();
        self.flight(caller, schema, stream::iter([Ok(batch)]))
    }

    fn flight<S>(&self, caller: &Caller, schema: SchemaRef, rows: S) -> Response<Rows>
    where
        S: Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
    {
        let flight = FlightDataEncoderBuilder::new().with_schema(schema).build(rows).map_err(Status::from);
        Response::new(Box::pin(self.0.access.guard(caller, flight)))
    }
}

fn no_info() -> QueryError {
    QueryError::Statement("what is to be cancelled is no answer of GetFlightInfo".into())
}

/// Makes the status of an error: its code in the message and in the metadata.
fn status(error: &QueryError) -> Status {
    let code = match error {
        QueryError::Statement(_) | QueryError::NotRead => Code::InvalidArgument,
        QueryError::NotGranted { .. } | QueryError::NoRole | QueryError::NoSite => Code::PermissionDenied,
        QueryError::Rows(_) | QueryError::Busy(_) | QueryError::Memory => Code::ResourceExhausted,
        QueryError::Time(_) => Code::DeadlineExceeded,
        QueryError::Cancelled => Code::Cancelled,
        QueryError::Failed(_) | QueryError::Output(_) => Code::Internal,
        QueryError::Archive(_) | QueryError::NotAudited => Code::Unavailable,
    };
    let refusal: Refusal = error.refusal();
    let mut status = Status::new(code, error.to_string());
    status.metadata_mut().insert(CODE_METADATA, MetadataValue::from_static(refusal.code()));
    status
}

/// Answers with one ticket. Clients get dictionaries as plain columns.
fn info(schema: &Schema, ticket: Any, asked: FlightDescriptor) -> Result<Response<FlightInfo>, Status> {
    let encoder =
        FlightDataEncoderBuilder::new().with_schema(Arc::new(schema.clone())).build(stream::empty());
    let schema = encoder.known_schema().ok_or_else(|| Status::internal("no schema"))?;
    let ticket = Ticket { ticket: ticket.encode_to_vec().into() };
    let info =
        FlightInfo::new().try_with_schema(&schema).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(info.with_endpoint(FlightEndpoint::new().with_ticket(ticket)).with_descriptor(asked)))
}

#[tonic::async_trait]
impl FlightSqlService for QueryService {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (caller, grant) = self.admit(&request)?;
        let slot = self.slot(&caller)?;
        let parsed = self.parse((&caller, grant), &query.query, &slot).await?;
        let ticket = cancel::ticket(&query.query).ok_or_else(|| Status::internal("no randomness"))?;
        info(parsed.columns(), ticket.as_any(), request.into_inner())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let (caller, grant) = self.admit(&request)?;
        let (name, sql) = cancel::read(&ticket)
            .ok_or_else(|| status(&QueryError::Statement("the ticket holds no statement".into())))?;
        let slot = self.slot(&caller)?;
        let run = self.0.running.start(caller.uri(), name);
        let (schema, planned) = tokio::select! {
            started = self.start((&caller, grant), sql, &slot) => started?,
            () = run.cancelled() => return Err(status(&QueryError::Cancelled)),
        };
        let rows = pump(&self.0.engine, planned, self.0.bounds, (slot, Some(run)))
            .map_err(|error| FlightError::from(status(&error)));
        Ok(self.flight(&caller, schema, rows))
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(&*query.info).map_err(|_bytes| status(&no_info()))?;
        // Its words have the numbers of the newer ones.
        Ok(ActionCancelQueryResult { result: self.cancel(&request, &info)?.into() })
    }

    /// The same by its newer name.
    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        if request.get_ref().r#type != CANCEL_FLIGHT_INFO {
            return Err(Status::unimplemented("there is no such action here"));
        }
        let wanted = CancelFlightInfoRequest::decode(&*request.get_ref().body);
        let info = wanted.ok().and_then(|wanted| wanted.info).ok_or_else(|| status(&no_info()))?;
        let status = self.cancel(&request, &info)?.into();
        let body = CancelFlightInfoResult { status }.encode_to_vec().into();
        Ok(Response::new(Box::pin(stream::iter([Ok(arrow_flight::Result { body })]))))
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        let description = "Ends a statement of the caller's.".into();
        Some(vec![Ok(ActionType { r#type: CANCEL_FLIGHT_INFO.into(), description })])
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        info(&query.into_builder().schema(), query.as_any(), request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let (caller, _grant) = self.admit(&request)?;
        let mut builder = query.into_builder();
        builder.append(CATALOG);
        Ok(self.listing(&caller, builder.build()?))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        info(&query.clone().into_builder().schema(), query.as_any(), request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let (caller, _grant) = self.admit(&request)?;
        let mut builder = query.into_builder();
        builder.append(CATALOG, SCHEMA);
        Ok(self.listing(&caller, builder.build()?))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        info(&query.clone().into_builder().schema(), query.as_any(), request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let (caller, grant) = self.admit(&request)?;
        let slot = self.slot(&caller)?;
        let mut builder = query.into_builder();
        for table in grant.tables() {
            let parsed = self.parse((&caller, grant), &format!("SELECT * FROM {table}"), &slot).await?;
            builder.append(CATALOG, SCHEMA, table, VIEW, parsed.columns())?;
        }
        Ok(self.listing(&caller, builder.build()?))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        info(&query.into_builder().schema(), query.as_any(), request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let (caller, _grant) = self.admit(&request)?;
        let mut builder = query.into_builder();
        builder.append(VIEW);
        Ok(self.listing(&caller, builder.build()?))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        let known = sql_info()?;
        info(&query.clone().into_builder(&known).schema(), query.as_any(), request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let (caller, _grant) = self.admit(&request)?;
        let known = sql_info()?;
        Ok(self.listing(&caller, query.into_builder(&known).build()?))
    }

    /// What a client is told is the same for everybody.
    async fn register_sql_info(&self, _id: i32, _info: &SqlInfo) {}
}
