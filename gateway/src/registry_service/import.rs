//! Bulk import: rows in, an answer for each, in order. A chunk is one transaction; a bad row keeps no other out.

use super::Imports;
use super::call::Call;
use super::devices::{new_device, result};
use super::error::{code_of, failed, status};
use super::limits::{IMPORT_CHUNK_ROWS, IMPORT_CHUNK_WAIT, IMPORT_ROWS_MAX};
use crate::access::CODE_METADATA;
use futures::StreamExt;
use futures::stream;
use tokio_stream::StreamExt as _;
use tonic::{Status, Streaming};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{ImportDevicesRequest, ImportDevicesResponse, ImportResult};
use wardline_store::registry::Reject;

/// Answers an import. The work is done as the answers are taken: a caller that is cut changes nothing more.
pub(super) fn run(call: Call, rows: Streaming<ImportDevicesRequest>) -> Imports {
    let (access, caller) = (call.parts.access.clone(), call.caller.clone());
    let chunks = Box::pin(rows.chunks_timeout(IMPORT_CHUNK_ROWS, IMPORT_CHUNK_WAIT));
    let answers = stream::unfold(Some((call, chunks, 0)), |state| async move {
        let (call, mut chunks, done) = state?;
        let chunk = futures::StreamExt::next(&mut chunks).await?;
        match answer(&call, chunk, done).await {
            Ok(answers) => {
                let done = done + answers.len();
                Some((answers.into_iter().map(Ok).collect::<Vec<_>>(), Some((call, chunks, done))))
            }
            Err(status) => Some((vec![Err(status)], None)),
        }
    });
    let answers = answers.flat_map(stream::iter).boxed();
    Box::pin(access.guard(&caller, answers))
}

async fn answer(
    call: &Call,
    chunk: Vec<Result<ImportDevicesRequest, Status>>,
    done: usize,
) -> Result<Vec<ImportDevicesResponse>, Status> {
    let rows = chunk.into_iter().collect::<Result<Vec<_>, _>>()?;
    if done + rows.len() > IMPORT_ROWS_MAX {
        let message = format!("an import has at most {IMPORT_ROWS_MAX} rows; the first {done} are in");
        return Err(status(Refusal::RegistryInvalid, &message));
    }
    call.auditable()?;
    let (mut answers, mut devices, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        match new_device(call, row.device) {
            Ok(device) => {
                places.push(answers.len());
                devices.push(device);
                answers.push(ImportDevicesResponse { line: row.line, ..Default::default() });
            }
            Err(status) => answers.push(refused(row.line, &status)),
        }
    }
    let imported = call.store().import_devices_of(&call.change(), &devices, call.maker()).await;
    let imported = imported.map_err(failed)?;
    if imported.contains(&Err(Reject::OtherMaker)) {
        // Its rows are answered one by one; the attempt is audited once.
        let _refused = call.deny(Refusal::RegistryMaker);
    }
    for (place, imported) in places.into_iter().zip(imported) {
        if let Some(answer) = answers.get_mut(place) {
            match imported {
                Ok(imported) => answer.result = result(imported).into(),
                Err(reject) => *answer = refused(answer.line, &status(code_of(reject), &reject.to_string())),
            }
        }
    }
    Ok(answers)
}

fn refused(line: u64, status: &Status) -> ImportDevicesResponse {
    let code = status.metadata().get(CODE_METADATA).and_then(|code| code.to_str().ok());
    let message = status.message().split_once(": ").map_or(status.message(), |(_code, message)| message);
    ImportDevicesResponse {
        line,
        result: ImportResult::Refused.into(),
        code: code.unwrap_or_default().to_owned(),
        message: message.to_owned(),
    }
}
