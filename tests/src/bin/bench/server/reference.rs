//! A bare rustls server: shakes hands, accepts the session, holds the connection. What TLS alone costs.

use super::program;
use crate::lab::{Lab, Place};
use crate::options::Reference;
use bytes::BytesMut;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

/// Returns the command that starts this program as the bare server.
pub(super) fn command(lab: &Lab, place: &Place) -> anyhow::Result<Command> {
    let mut command = program(std::env::current_exe()?);
    command.args(["reference", "--port", &place.ports[0].to_string(), "--pki"]).arg(lab.pki());
    Ok(command)
}

/// Serves until it is killed.
pub(crate) async fn serve(options: &Reference) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config(options)?));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that leaves is no news.
            let _ = hold(acceptor, socket).await;
        });
    }
}

async fn hold(acceptor: TlsAcceptor, socket: TcpStream) -> anyhow::Result<()> {
    let mut stream = acceptor.accept(socket).await?;
    let mut inbound = BytesMut::with_capacity(256);
    stream.read_buf(&mut inbound).await?;
    stream.write_all(&CONNACK).await?;
    while stream.read_buf(&mut inbound).await? > 0 {
        inbound.clear();
    }
    Ok(())
}

fn config(options: &Reference) -> anyhow::Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(options.pki.join("ca.pem"))? {
        roots.add(certificate?)?;
    }
    let chain = CertificateDer::pem_file_iter(options.pki.join("server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(options.pki.join("server.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
