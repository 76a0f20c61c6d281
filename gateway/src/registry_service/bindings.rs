//! Who wore a device. A subject is told to the caller and to nobody else: no log, no audit (SEC-3).

use super::call::Call;
use super::error::failed;
use crate::front::now_us;
use tonic::Status;
use wardline_proto::v1::{
    BindRequest, BindResponse, Binding as Wire, GetWearerRequest, GetWearerResponse, ListBindingsRequest,
    ListBindingsResponse,
};
use wardline_store::registry::{Binding, NewBinding};

pub(super) async fn bind(call: &Call, wanted: BindRequest) -> Result<BindResponse, Status> {
    let change = call.change();
    let binding = NewBinding {
        device: call.device(&wanted.tenant, &wanted.device)?,
        subject: wanted.subject,
        from_us: if wanted.from_us == 0 { change.at_us } else { wanted.from_us },
        until_us: (wanted.until_us != 0).then_some(wanted.until_us),
    };
    let binding_id = call.store().bind(&change, &binding).await.map_err(failed)?;
    Ok(BindResponse { binding_id })
}

pub(super) async fn list(call: &Call, wanted: ListBindingsRequest) -> Result<ListBindingsResponse, Status> {
    let key = call.device(&wanted.tenant, &wanted.device)?;
    let bindings = call.store().bindings(&key).await.map_err(failed)?;
    Ok(ListBindingsResponse { bindings: bindings.into_iter().map(wire).collect() })
}

pub(super) async fn wearer(call: &Call, wanted: GetWearerRequest) -> Result<GetWearerResponse, Status> {
    let key = call.device(&wanted.tenant, &wanted.device)?;
    let or_now = |at_us: i64| if at_us == 0 { now_us() } else { at_us };
    let wearer = call.store().wearer(&key, or_now(wanted.at_us), or_now(wanted.known_at_us)).await;
    Ok(GetWearerResponse { subject: wearer.map_err(failed)?.unwrap_or_default() })
}

fn wire(entry: Binding) -> Wire {
    Wire {
        binding_id: entry.binding_id,
        tenant: entry.binding.device.tenant.to_string(),
        device: entry.binding.device.device.to_string(),
        subject: entry.binding.subject,
        from_us: entry.binding.from_us,
        until_us: entry.binding.until_us.unwrap_or(0),
        recorded_at_us: entry.recorded_at_us,
        recorded_by: entry.recorded_by,
    }
}
