//! The gRPC port: services behind TLS, each connection behind a gate.

use super::Access;
use crate::tls_listener::TlsListener;
use axum::response::IntoResponse;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::{Service, http::Request};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::server::{HealthReporter, health_reporter};

/// A peer that is gone is noticed within the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const STREAMS_PER_CONNECTION_MAX: u32 = 64;
/// After a shutdown, connections have this long to end by themselves.
const DRAIN: Duration = Duration::from_secs(3);

/// The services of one port, and their health.
pub struct Services {
    routes: Routes,
    health: HealthReporter,
}

impl Default for Services {
    fn default() -> Self {
        let (health, service) = health_reporter();
        Self { routes: Routes::new(service), health }
    }
}

impl Services {
    /// Adds a service; it is healthy from now on.
    pub async fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.health.set_serving::<S>().await;
        self.routes = self.routes.add_service(service);
        self
    }
}

/// Serves until `shutdown` turns true.
pub async fn serve(
    port: TlsListener,
    services: Services,
    access: Access,
    shutdown: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .add_routes(services.routes)
        .serve_with_incoming_shutdown(access.gate(port.incoming()), stopped(shutdown.clone()));
    let deadline = async {
        stopped(shutdown).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = served => served,
        () = deadline => Ok(()),
    }
}

/// Waits until the flag is true or its sender is gone.
async fn stopped(mut shutdown: watch::Receiver<bool>) {
    // A dropped sender means that whoever would say so is gone.
    let _gone = shutdown.wait_for(|stop| *stop).await.map(drop);
}
