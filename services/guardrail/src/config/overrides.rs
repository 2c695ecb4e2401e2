//! What a request meets: the checks of its endpoint, and those of its team and its key beside them.
//!
//! Policies are not merged field by field: each keeps its own checks with their own actions and exceptions, and all of them run. So
//! whatever one of them blocks or masks is blocked or masked. Two lists of allowed topics, two judges and two sets of exceptions have no
//! union that would promise that. A judge that several ask the same is asked once.
//!
//! What one policy would have put back into an answer stays out of it where another one keeps anything of answers back: what comes back, comes
//! behind their checks.

use super::{judges::Judges, policy, suffix, version};
use crate::checks::Action;
use crate::config::Endpoint;
use crate::pipeline::{Configured, Judged, Policy, Seat, Side, Stage, Streaming, Subject};
use std::collections::HashMap;
use std::sync::Arc;
use tollgate_runtime::config::{Config, Guardrails, Overrides, Problem, Whose};
use tollgate_schemas::Request;

/// Compiled endpoints by name, and the policies of teams and keys.
#[derive(Debug)]
pub struct Endpoints {
    named: HashMap<String, Arc<Endpoint>>,
    overrides: Overrides<Policy>,
}

impl Endpoints {
    /// Of all that can be used; what is wrong with guardrails goes to `problems`, with those of teams and keys to `of_callers`.
    pub(super) fn compile(config: &Config, problems: &mut Vec<Problem>, of_callers: &mut Vec<Problem>) -> Self {
        let judges = Judges::of(config);
        let known = (config, &judges);
        let mut named = HashMap::with_capacity(config.endpoints.len());
        for (at, endpoint) in config.endpoints.iter().enumerate() {
            let path = format!("endpoints[{at}].guardrails");
            let policy = policy(&endpoint.guardrails, (Whose::Endpoint, &path), known, problems);
            named.insert(endpoint.name.clone(), Arc::new(Endpoint { policy, tags: endpoint.tags.clone() }));
        }
        let overrides = Overrides::of(config, |whose, path, guardrails| {
            let before = of_callers.len();
            let compiled = policy(guardrails, (whose, path), known, of_callers);
            let is_broken = of_callers[before..].iter().any(|problem| problem.fatal);
            if is_broken { refusing(compiled, guardrails, whose) } else { compiled }
        });
        Self { named, overrides }
    }

    /// The endpoint of a request with all checks that apply to it; `None`: there is no such endpoint.
    pub fn of(&self, request: &Request) -> Option<Arc<Endpoint>> {
        let endpoint = self.named.get(&request.endpoint)?;
        let policies: Vec<&Policy> = self.overrides.apply(&endpoint.policy, &request.caller).collect();
        match policies[..] {
            [only] if std::ptr::eq(only, &endpoint.policy) => Some(endpoint.clone()),
            _ => Some(Arc::new(Endpoint { policy: together(&policies), tags: endpoint.tags.clone() })),
        }
    }
}

/// The policy that is kept to if all of these are.
fn together(policies: &[&Policy]) -> Policy {
    let stage = |side: Side| {
        let stages = || policies.iter().map(move |policy| side.stage(policy)).filter(|stage| !stage.is_empty());
        let mut whole = Stage { streaming: streaming(stages()), ..Stage::default() };
        for policy in policies.iter().filter(|policy| !side.stage(policy).is_empty()) {
            let stage = side.stage(policy);
            // A judge that allows what it has no time for must not get less of it.
            whole.budget = whole.budget.max(stage.budget);
            whole.hash_key.clone_from(&stage.hash_key);
            if let Some(own) = &stage.unreadable
                && whole.unreadable.as_ref().is_none_or(|known| own.blocks && !known.blocks)
            {
                whole.unreadable = Some(own.clone());
            }
            let others = || stages().filter(move |other| !std::ptr::eq(*other, stage));
            let mut rest = policies.iter().filter(|other| !std::ptr::eq(**other, *policy));
            let is_for_good = rest.any(|other| other.output.keeps_back());
            let beside =
                |own: &Configured| own.beside(others().flat_map(|other| other.judged.iter())).for_good(is_for_good);
            whole.checks.extend(stage.checks.iter().map(beside));
            for judged in stage.judged.iter().map(|judged| judged.clone().for_good(is_for_good)) {
                if !whole.judged.iter_mut().any(|asked| asked.takes_in(&judged)) {
                    whole.judged.push(judged);
                }
            }
        }
        whole
    };
    let version = version::together(policies.iter().filter_map(|policy| policy.version.as_deref()));
    Policy { version, input: stage(Side::Input), output: stage(Side::Output) }
}

/// How a stream is checked by all of these: in parts if each can, which are the longest that one of them asks for.
fn streaming<'s>(stages: impl Iterator<Item = &'s Stage>) -> Option<Streaming> {
    let each: Option<Vec<Streaming>> = stages.map(|stage| stage.streaming).collect();
    let longer = |one: Streaming, other: Streaming| Streaming { window: one.window.max(other.window), ..one };
    each?.into_iter().reduce(longer)
}

/// A policy that cannot be compiled: nothing passes where it would check something.
fn refusing(mut policy: Policy, guardrails: &Guardrails, whose: Whose) -> Policy {
    let sides =
        [(Side::Input, &mut policy.input, &guardrails.input), (Side::Output, &mut policy.output, &guardrails.output)];
    for (side, stage, _) in sides.into_iter().filter(|(_, _, checks)| checks.any()) {
        stage.judged.push(Judged {
            name: format!("{}.guardrails{}", side.as_str(), suffix(whose)).into(),
            action: Action::Block,
            allows_failure: false,
            subject: Subject::Safety,
            seat: Seat::Vacant("guardrails".into()),
        });
    }
    policy
}

#[cfg(test)]
mod tests;
