//! Every method of the descriptor by every role: a method without a rule fails here.

use crate::support::Stand;
use prost::Message;
use std::collections::BTreeSet;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use wardline::registry_service::rules::{Allowed, RULES, Rule};
use wardline_proto::FILE_DESCRIPTOR_SET;
use wardline_store::registry::Role;

fn methods() -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = set.file.into_iter().flat_map(|file| file.service);
    let service = services.into_iter().find(|service| service.name() == "RegistryService").unwrap();
    service.method.into_iter().map(|method| method.name().to_owned()).collect()
}

#[test]
fn every_method_has_one_rule_and_every_rule_a_method() {
    let methods = methods();
    let ruled: Vec<_> = RULES.iter().map(|rule| rule.method.to_owned()).collect();
    let unique: BTreeSet<_> = ruled.iter().collect();
    assert_eq!(unique.len(), ruled.len(), "a method has two rules");
    assert_eq!(methods.iter().collect::<BTreeSet<_>>(), unique);
}

/// Calls a method with an empty request, which no change accepts: what comes back tells whether it was let in.
async fn call(channel: &Channel, method: &str) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path: PathAndQuery = format!("/wardline.v1.RegistryService/{method}").parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    if method == "ImportDevices" {
        let empty = Request::new(tokio_stream::iter(Vec::<()>::new()));
        return grpc.streaming(empty, path, codec).await.map(drop);
    }
    grpc.unary(Request::new(()), path, codec).await.map(drop)
}

fn code(status: &Status) -> &str {
    status.metadata().get("wardline-code").and_then(|code| code.to_str().ok()).unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_call_what_the_table_says_and_nothing_else() {
    let users: Vec<(String, Option<Role>)> = Role::ALL
        .into_iter()
        .map(|role| (format!("u-{role}"), Some(role)))
        .chain([("u-none".to_owned(), None)])
        .collect();
    let named: Vec<_> = users.iter().map(|(name, role)| ("demo", name.as_str(), *role)).collect();
    let stand = Stand::new(&named).await;
    let (mut tried, mut let_in) = (0, 0);
    let callers = users.into_iter().chain([("mon-1".to_owned(), None)]);
    for (name, role) in callers {
        let channel = stand.channel(&name).await;
        for method in methods() {
            let expected = match Rule::of(&method).expect("a rule").allowed {
                Allowed::Anyone => true,
                Allowed::Roles(roles) => role.is_some_and(|role| roles.contains(&role)),
            };
            let answer = call(&channel, &method).await;
            let refused = matches!(&answer, Err(status) if code(status) == "WL-ID-007");
            assert_eq!(refused, !expected, "{name} calls {method}: {answer:?}");
            if let (true, Err(status)) = (refused, &answer) {
                assert_eq!(status.code(), Code::PermissionDenied);
                assert!(status.message().starts_with("WL-ID-007"), "{status:?}");
            }
            tried += 1;
            let_in += usize::from(!refused);
        }
    }
    println!("{tried} calls tried, {let_in} let in");
    assert_eq!(tried, methods().len() * 8);
}
