//! SimulatePrincipalPolicy: what the policies would say, without doing anything.

use super::check::{self, MANAGED_CHARS_MAX};
use super::policy_shapes::{
    EvaluationResult, SimulatePrincipalPolicyRequest, SimulatePrincipalPolicyResponse,
};
use crate::api::{Api, ApiError};
use crate::iam::{Context, Document, IdentityKind, PolicyKind, Request, Verdict, decide};

/// Most actions times resources of one simulation.
const RESULTS_MAX: usize = 1000;

pub(super) async fn run(
    api: &Api,
    request: SimulatePrincipalPolicyRequest,
) -> Result<SimulatePrincipalPolicyResponse, ApiError> {
    let view = api.engine.snapshot();
    let arn = &request.policy_source_arn;
    let name = arn.rsplit('/').next().unwrap_or_default();
    let identity = [IdentityKind::Role, IdentityKind::User]
        .into_iter()
        .filter_map(|kind| view.iam.identity(kind, name))
        .find(|identity| identity.arn(&view.scope) == *arn)
        .ok_or_else(|| check::not_found("user or role", arn))?;
    let kind = PolicyKind::Identity;
    let more = request.policy_input_list.unwrap_or_default();
    let more = more.iter().map(|text| check::document(text, kind, MANAGED_CHARS_MAX));
    let more = more.collect::<Result<Vec<_>, _>>()?;
    let mut context = Context::default();
    context.put("aws:PrincipalArn", arn.clone());
    for entry in request.context_entries.unwrap_or_default() {
        context.put_all(&entry.context_key_name, entry.context_key_values);
    }
    let resources = request.resource_arns.filter(|list| !list.is_empty());
    let resources = resources.unwrap_or_else(|| vec!["*".to_owned()]);
    let asked: Vec<_> = request
        .action_names
        .iter()
        .flat_map(|action| resources.iter().map(move |resource| (action, resource)))
        .collect();
    if RESULTS_MAX < asked.len() || request.marker.is_some() {
        let message = format!("at most {RESULTS_MAX} actions times resources, in one page");
        return Err(ApiError::invalid(message));
    }
    let documents: Vec<&Document> = view
        .iam
        .documents(identity)
        .chain(more.iter().map(|policy| policy.document().as_ref()))
        .collect();
    let boundary = view.iam.boundary(identity);
    let results = asked.into_iter().map(|(action, resource)| {
        let asked = Request { action, resource, context: &context };
        let own = decide(documents.iter().copied(), asked);
        let verdict = match boundary {
            Some(boundary) if own == Verdict::Allowed => decide(boundary, asked),
            _ => own,
        };
        let decision = match verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "explicitDeny",
            Verdict::NotAllowed => "implicitDeny",
        };
        EvaluationResult {
            eval_action_name: action.clone(),
            eval_resource_name: resource.clone(),
            eval_decision: decision.to_owned(),
            matched_statements: vec![],
            missing_context_values: vec![],
        }
    });
    Ok(SimulatePrincipalPolicyResponse {
        evaluation_results: results.collect(),
        is_truncated: false,
    })
}
