//! The HTTPS port: connections that end with their certificates, and which request goes where.

use super::error::{FHIR_JSON, FhirError};
use super::limits::{DRAIN, FORM_BYTES_MAX, HEAD_BYTES_MAX, HEAD_MAX};
use super::{Asked, Peer, Site, devices, export, observations};
use axum::body::Body;
use futures::StreamExt;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::server::Connected;
use wardline_access::tls_listener::{TlsListener, TlsSocket};
use wardline_access::{Access, Gated};
use wardline_fhir::capability;

/// Serves until `stop` is true; then ends what was begun.
pub(crate) async fn run(port: TlsListener, site: Arc<Site>, access: Access, stop: watch::Receiver<bool>) {
    let mut sockets = pin!(access.gate(port.incoming()));
    let (mut connections, mut told) = (JoinSet::new(), stop.clone());
    loop {
        tokio::select! {
            _gone = told.wait_for(|stop| *stop) => break,
            Some(_ended) = connections.join_next() => {}
            socket = sockets.next() => match socket {
                Some(Ok(socket)) => drop(connections.spawn(connection(socket, site.clone(), stop.clone()))),
                Some(Err(error)) => tracing::debug!(%error, "no connection"),
                None => break,
            }
        }
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, ended).await.is_err() {
        tracing::warn!("connections of the FHIR port did not end in time");
    }
}

async fn connection(socket: Gated<TlsSocket>, site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let peer = socket.connect_info();
    let service = service_fn(move |request| {
        let (site, peer) = (site.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(&site, &peer, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let mut serving = pin!(serving);
    let whole = async {
        tokio::select! {
            ended = serving.as_mut() => return ended,
            _gone = stop.wait_for(|stop| *stop) => {}
        }
        serving.as_mut().graceful_shutdown();
        serving.await
    };
    if let Err(error) = whole.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(site: &Arc<Site>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    match route(site, peer, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(refusal = %error.refusal(), "a request was refused");
            error.answer()
        }
    }
}

async fn route(
    site: &Arc<Site>,
    peer: &Peer,
    request: Request<Incoming>,
) -> Result<Response<Body>, FhirError> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let base = base(&request);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    if let (&Method::GET, ["metadata"]) = (&method, segments.as_slice()) {
        return Ok(json(&capability::statement(&base, env!("CARGO_PKG_VERSION"))));
    }
    let asked = site.admit(peer, base).await?;
    if let Some(exporting) = exporting(site, &asked, &request, &segments).await {
        return exporting;
    }
    let resource = match (&method, segments.as_slice()) {
        (&Method::GET, ["Observation"]) => observations::search(site, &asked, &query).await?,
        (&Method::GET, ["Device"]) => devices::search(site, &asked, &query).await?,
        (&Method::POST, [kind @ ("Observation" | "Device"), "_search"]) => {
            let is_observation = *kind == "Observation";
            let form = form(request, &query).await?;
            match is_observation {
                true => observations::search(site, &asked, &form).await?,
                false => devices::search(site, &asked, &form).await?,
            }
        }
        (&Method::GET, ["Observation", id]) => observations::read(site, &asked, id).await?,
        (&Method::GET, ["Device", id]) => devices::read(site, &asked, id).await?,
        (&Method::GET, _) => return Err(FhirError::NotFound(path)),
        _ => {
            let text = "resources are read only".to_owned();
            return Err(FhirError::NotSupported(text, StatusCode::METHOD_NOT_ALLOWED));
        }
    };
    Ok(json(&resource))
}

/// Answers what is about an export; none when the request is not.
async fn exporting<T>(
    site: &Site,
    asked: &Asked,
    request: &Request<T>,
    segments: &[&str],
) -> Option<Result<Response<Body>, FhirError>> {
    let query = request.uri().query().unwrap_or_default();
    let prefers = |word: &str| {
        let prefer = request.headers().get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        prefer.flat_map(|value| value.split(',')).any(|value| value.trim() == word)
    };
    Some(match (request.method(), segments) {
        (&Method::GET, ["$export"]) if !prefers("respond-async") => Err(export::async_only()),
        (&Method::GET, ["$export"]) => export::begin(site, asked, query).await,
        (&Method::GET, ["export", id]) => export::status(site, asked, id),
        (&Method::DELETE, ["export", id]) => export::cancel(site, asked, id),
        (&Method::GET, ["export", id, name]) => export::file(site, asked, id, name).await,
        _ => return None,
    })
}

/// Reads the form of a search; parameters of the address count too.
async fn form(request: Request<Incoming>, query: &str) -> Result<String, FhirError> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        let text = "a search is posted as application/x-www-form-urlencoded".to_owned();
        return Err(FhirError::NotSupported(text, StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let body = Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await;
    let body = body.ok().and_then(|body| String::from_utf8(body.to_bytes().into()).ok());
    let problem = || wardline_fhir::search::Unusable {
        parameter: "form".into(),
        problem: format!("no text of at most {FORM_BYTES_MAX} bytes"),
    };
    Ok(format!("{query}&{}", body.ok_or_else(problem)?).trim_matches('&').to_owned())
}

/// Where the caller reached the server: links lead there again.
fn base<T>(request: &Request<T>) -> String {
    let named = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    format!("https://{}", host.filter(|host| named(host)).unwrap_or("localhost"))
}

fn json(resource: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(resource.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, FHIR_JSON);
    response
}
