//! A node of its own for each test, and callers with roles.

use std::path::PathBuf;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity as Pem};
use wardline::node::{Node, NodeOptions, Role as NodeRole, Roles};
use wardline::operate;
use wardline_proto::v1::registry_service_client::RegistryServiceClient;
use wardline_proto::{DeviceId, DeviceKey, Identity, TenantId};
use wardline_store::registry::Role;

pub(crate) type Client = RegistryServiceClient<Channel>;

pub(crate) struct Stand {
    pub(crate) dir: TempDir,
    pub(crate) node: Node,
}

pub(crate) fn key(tenant: &str, device: &str) -> DeviceKey {
    DeviceKey { tenant: TenantId::new(tenant).unwrap(), device: DeviceId::new(device).unwrap() }
}

pub(crate) fn user(tenant: &str, name: &str) -> Identity {
    let DeviceKey { tenant, device: name } = key(tenant, name);
    Identity::User { tenant, name }
}

impl Stand {
    /// Starts a node; `users` are tenant, name and role, `""` for none.
    pub(crate) async fn new(users: &[(&str, &str, Option<Role>)]) -> Self {
        // Whoever comes first installs the provider that the client of gRPC takes.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["localhost", "127.0.0.1"].map(ToOwned::to_owned);
        operate::init(dir.path(), "wardline.local", &hosts).await.unwrap();
        for (tenant, name, role) in users {
            let roles: Vec<_> = role.iter().copied().collect();
            let out = dir.path().join(name);
            operate::issue_principal(dir.path(), user(tenant, name), &roles, &out).await.unwrap();
        }
        operate::issue_device(dir.path(), &key("demo", "mon-1"), &dir.path().join("mon-1")).await.unwrap();
        let mut options = NodeOptions::on_loopback(dir.path());
        options.roles = Roles::new(&[NodeRole::Api]);
        let node = Node::start(options).await.unwrap();
        Self { dir, node }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.node.addrs().grpc)
    }

    pub(crate) fn certs(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn channel(&self, name: &str) -> Channel {
        let read = |file: &str| std::fs::read(self.certs(name).join(file)).unwrap();
        let tls = ClientTlsConfig::new()
            .domain_name("localhost")
            .ca_certificate(Certificate::from_pem(read("ca.pem")))
            .identity(Pem::from_pem(read("cert.pem"), read("key.pem")));
        let endpoint = Endpoint::from_shared(self.url()).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn client(&self, name: &str) -> Client {
        Client::new(self.channel(name).await)
    }
}
