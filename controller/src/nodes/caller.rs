//! Whose certificate a call was made with.

use loadline_model::InstanceArn;
use rustls::pki_types::CertificateDer;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::listen::Peer;
use crate::engine::Engine;
use crate::state::{NodeStatus, Scope};

/// The node that makes a call: set on every request of a service behind [`CallerCheck`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller(pub(super) InstanceArn);

impl Caller {
    /// Who makes this call.
    pub(super) fn of<T>(request: &Request<T>) -> Result<InstanceArn, Status> {
        let caller = request.extensions().get::<Self>();
        caller.map(|caller| caller.0.clone()).ok_or_else(no_certificate)
    }
}

/// Lets only nodes of this controller through that were not removed.
#[derive(Clone, Debug)]
pub(super) struct CallerCheck {
    engine: Engine,
    scope: Scope,
}

impl CallerCheck {
    pub(super) fn new(engine: Engine, scope: Scope) -> Self {
        Self { engine, scope }
    }
}

impl Interceptor for CallerCheck {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let peer = request.extensions().get::<Peer>();
        let certificate = peer.and_then(|peer| peer.certificate.as_ref());
        let node = node_of(certificate.ok_or_else(no_certificate)?, &self.scope)?;
        let view = self.engine.snapshot();
        if view.node(&node).is_some_and(|entry| entry.record.status == NodeStatus::Inactive) {
            let removed = format!("container instance {node} was removed from its cluster");
            return Err(Status::permission_denied(removed));
        }
        request.extensions_mut().insert(Caller(node));
        Ok(request)
    }
}

fn no_certificate() -> Status {
    Status::unauthenticated("this call needs a node's client certificate: enrol first")
}

/// The node that a certificate of our authority names.
fn node_of(certificate: &CertificateDer<'_>, scope: &Scope) -> Result<InstanceArn, Status> {
    let name = common_name(certificate)
        .ok_or_else(|| Status::unauthenticated("the client certificate has no common name"))?;
    let node = InstanceArn::parse(&name).map_err(|e| Status::unauthenticated(e.to_string()))?;
    let prefix = format!("arn:{}:ecs:{}:{}:", scope.partition, scope.region, scope.account);
    if !node.as_str().starts_with(&prefix) {
        let text = format!("{node} is a container instance of another region or account");
        return Err(Status::permission_denied(text));
    }
    Ok(node)
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(name)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::pki::{Authority, NodeKey};
    use super::*;

    fn scope(account: &str) -> Scope {
        Scope {
            partition: "aws".to_owned(),
            region: "us-east-1".to_owned(),
            account: account.to_owned(),
        }
    }

    fn certificate_of(node: &str) -> CertificateDer<'static> {
        let now = SystemTime::now();
        let authority = Authority::create("test", [1; 16], now).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        let key = NodeKey::from_request(request.der()).unwrap();
        authority.issue_node(&InstanceArn::parse(node).unwrap(), &key, [2; 16], now).unwrap()
    }

    #[test]
    fn a_certificate_names_a_node_of_this_scope_alone() {
        let node = "arn:aws:ecs:us-east-1:000000000000:container-instance/default/0af1";
        let certificate = certificate_of(node);
        assert_eq!(node_of(&certificate, &scope("000000000000")).unwrap().as_str(), node);
        let refused = node_of(&certificate, &scope("00000000000")).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        let broken = node_of(&CertificateDer::from(vec![1, 2, 3]), &scope("000000000000"));
        assert_eq!(broken.unwrap_err().code(), tonic::Code::Unauthenticated);
    }
}
