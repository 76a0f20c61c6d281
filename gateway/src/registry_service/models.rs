//! Device models. Who is no operator sees the models of its own tenant: a profile may be of what is not on the market.

use super::call::{Call, id};
use super::error::{failed, invalid, missing, status};
use tonic::Status;
use wardline_profile::lint::{Severity, lint};
use wardline_proto::refusal::Refusal;
use wardline_proto::v1::{
    GetModelRequest, GetModelResponse, ListModelsRequest, ListModelsResponse, Model as Wire, PutModelRequest,
    PutModelResponse,
};
use wardline_store::registry::Model;

pub(super) async fn put(call: &Call, wanted: PutModelRequest) -> Result<PutModelResponse, Status> {
    let wanted = wanted.model.ok_or_else(|| invalid("model"))?;
    let model = Model {
        model: id("model", &wanted.model)?,
        maker: call.tenant(&wanted.maker)?,
        display_name: wanted.display_name,
        profile: wanted.profile,
        profile_version: wanted.profile_version,
        created_at_us: 0,
    };
    if !model.profile.is_empty() {
        judged(&model.profile)?;
    }
    call.store().put_model(&call.change(), &model).await.map_err(failed)?;
    Ok(PutModelResponse {})
}

/// Refuses a profile that does not lint, by its first error: it would judge nothing.
fn judged(profile: &str) -> Result<(), Status> {
    let linted = lint(profile);
    let first = linted.findings.iter().find(|finding| finding.severity == Severity::Error);
    match first {
        Some(first) => Err(status(
            Refusal::RegistryInvalid,
            &format!("the profile does not lint: line {}: {}: {}", first.line, first.code, first.message),
        )),
        None if linted.profile.is_none() => Err(invalid("profile")),
        None => Ok(()),
    }
}

pub(super) async fn get(call: &Call, wanted: GetModelRequest) -> Result<GetModelResponse, Status> {
    let model = call.store().get_model(&id("model", &wanted.model)?).await.map_err(failed)?;
    let model = model.filter(|model| call.reaches(&model.maker)).ok_or_else(|| missing("model"))?;
    Ok(GetModelResponse { model: Some(wire(model)) })
}

pub(super) async fn list(call: &Call, wanted: ListModelsRequest) -> Result<ListModelsResponse, Status> {
    let maker = call.tenant_filter(&wanted.maker)?;
    let models = call.store().list_models(maker.as_ref()).await.map_err(failed)?;
    let models = models.into_iter().map(|model| wire(Model { profile: String::new(), ..model }));
    Ok(ListModelsResponse { models: models.collect() })
}

fn wire(model: Model) -> Wire {
    Wire {
        model: model.model.to_string(),
        maker: model.maker.to_string(),
        display_name: model.display_name,
        profile: model.profile,
        profile_version: model.profile_version,
        created_at_us: model.created_at_us,
    }
}
