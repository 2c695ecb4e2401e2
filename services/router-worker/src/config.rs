//! The router's part of the configuration, ready to use: endpoints with their destinations, providers with their
//! clients. Credentials are resolved for this service only and live here only.

use crate::{
    gate::Gate,
    health::{Health, News},
    load::Load,
    prices::PriceBook,
    providers::{self, Http, Kind, Transport},
    share::{Gossip, Teller},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tollgate_admission::DestinationLimits;
use tollgate_runtime::{
    Secret,
    config::{
        self, Config, EndpointCache, Guardrails, Hedge, OnMidstreamFailure, OnUnsupported, Overrides, Problem,
        Problems, Retry, Routing, Sticky, Timeout, Trigger,
    },
    seal::Sealer,
};
use tollgate_schemas::{ApiType, Lane, Request};

/// Everything the router knows.
pub(crate) struct Router {
    /// `gateway`, for the usage table.
    pub gateway: String,
    /// `region`, for the usage table.
    pub region: String,
    /// Prices.
    pub prices: PriceBook,
    /// Limits of destinations.
    pub limits: DestinationLimits,
    providers: BTreeMap<String, Arc<Provider>>,
    endpoints: HashMap<String, Arc<Endpoint>>,
    /// What the guardrails of teams and keys do with answers.
    output_checks: Overrides<Checked>,
}

/// How answers pass the guardrail before anyone sees them. Of several that apply, the last one in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Checked {
    /// They do not.
    Not,
    /// A stream part by part.
    InParts,
    /// When they are whole.
    Whole,
}

impl Checked {
    fn by(guardrails: &Guardrails) -> Self {
        match (guardrails.output.any(), guardrails.streams()) {
            (false, _) => Self::Not,
            (true, true) => Self::InParts,
            (true, false) => Self::Whole,
        }
    }
}

/// Where requests for one endpoint go.
pub(crate) struct Endpoint {
    /// The destinations that share the traffic, then the fallbacks.
    pub destinations: Vec<Arc<Destination>>,
    /// Of the first ones of `destinations`; the rest are fallbacks.
    pub shares: Vec<Share>,
    /// Of each of `destinations`: the failures that it stands in for; empty: any that is not the request's own fault.
    pub on: Vec<Vec<Trigger>>,
    /// What decides between those of the same priority.
    pub routing: Routing,
    /// Whose requests stay with a destination.
    pub sticky: Option<Sticky>,
    /// When a second call is made.
    pub hedge: Option<Hedge>,
    /// How long answers are given again, and to whom.
    pub cache: Option<EndpointCache>,
    /// How often to try again.
    pub retry: Retry,
    /// How long to wait.
    pub timeout: Timeout,
    /// What its own guardrails do with answers; see [`Router::checked`].
    pub checked: Checked,
    /// What a destination cannot express is left out, instead of refused.
    pub drops_unsupported: bool,
    /// A provider may keep a conversation, if there is no other destination that could be asked for it.
    pub allows_store: bool,
    /// A stream that breaks after its caller has seen its beginning goes on elsewhere, if it can.
    pub resumes: bool,
    /// Output tokens when the caller sets no maximum and the provider demands one: what admission reserved.
    pub default_max_tokens: u32,
    /// For the usage table.
    pub tags: BTreeMap<String, String>,
    /// Who gets copies of what was answered.
    pub shadows: Vec<Shadow>,
}

impl Endpoint {
    /// Every destination, those of shadows too.
    fn all(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.destinations.iter().chain(self.shadows.iter().flat_map(|shadow| &shadow.alone.destinations))
    }
}

/// A model that is sent copies of an endpoint's requests.
pub(crate) struct Shadow {
    /// Its name.
    pub name: String,
    /// Of the requests that are answered, above 0.0 and up to 1.0.
    pub share: f64,
    /// What its calls are billed to.
    pub tags: BTreeMap<String, String>,
    /// The team that is charged; empty: none.
    pub team: String,
    /// The endpoint as its copies meet it: there is nobody else, and nobody sees the answer.
    pub alone: Arc<Endpoint>,
}

/// A destination's part of an endpoint's traffic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// The lowest go first.
    pub priority: u32,
    /// Among those of the same priority and rank.
    pub weight: u32,
}

/// A model at a provider.
pub(crate) struct Destination {
    /// Its name.
    pub name: String,
    /// The provider.
    pub provider: Arc<Provider>,
    /// The model's name there; in an endpoint whose name is a wildcard it may have one too ([`config::model_for`]).
    pub model: String,
    /// Its own bound on concurrent calls, below the provider's.
    pub gate: Option<Gate>,
    /// Whether it may be called at present.
    pub health: Health,
    /// How busy and how fast it is.
    pub load: Load,
    /// Fields that the model does not take.
    pub unsupported: Vec<String>,
    concurrency: Option<usize>,
}

impl Destination {
    fn new(destination: &config::Destination, provider: &Arc<Provider>, teller: Option<Teller>) -> Self {
        Self {
            name: destination.name.clone(),
            provider: provider.clone(),
            model: destination.model.clone(),
            gate: destination.concurrency.map(Gate::new),
            health: Health::shared(teller),
            load: Load::default(),
            unsupported: destination.unsupported.clone(),
            concurrency: destination.concurrency,
        }
    }

    /// Whether the configuration still means this one. Its share is the endpoint's.
    fn is(&self, destination: &config::Destination, provider: &Arc<Provider>) -> bool {
        self.name == destination.name
            && self.model == destination.model
            && self.concurrency == destination.concurrency
            && self.unsupported == destination.unsupported
            && Arc::ptr_eq(&self.provider, provider)
    }
}

/// A provider.
pub(crate) struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// What is particular to its kind.
    pub kind: Kind,
    /// How it is reached.
    pub transport: Transport,
    /// Its bound on concurrent calls.
    pub gate: Gate,
    made_of: MadeOf,
}

/// All of the configuration that a provider is made of: as long as it is the same, so is the provider.
#[derive(PartialEq, Eq)]
struct MadeOf {
    provider: config::Provider,
    /// Those that administrators gave, opened.
    credentials: Vec<Secret>,
    /// Of the endpoints that use it.
    connect_timeouts: Vec<Duration>,
}

impl Router {
    /// Builds clients and tables. Reports every problem at once, with its path in the file. What has not changed since the
    /// `last` one is taken over: connections, bounds on concurrent calls and circuits outlive a change elsewhere. What is found out
    /// about destinations goes to `gossip`.
    pub(crate) fn new(config: &Config, last: Option<&Self>, gossip: Option<&Gossip>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut providers = BTreeMap::new();
        let judges = config.judge_endpoints();
        let all: Vec<(String, &config::Endpoint)> = paths(config, &judges).collect();
        for (name, provider) in &config.providers {
            let made_of = MadeOf {
                provider: provider.clone(),
                credentials: credentials_of(config, name),
                connect_timeouts: connect_timeouts(&all, name),
            };
            let same = last.and_then(|last| last.providers.get(name)).filter(|last| last.made_of == made_of);
            if let Some(same) = same {
                providers.insert(name.clone(), same.clone());
                continue;
            }
            match build_provider(name, made_of) {
                Ok(built) => drop(providers.insert(name.clone(), Arc::new(built))),
                Err(message) => problems.push(problem(format!("providers.{name}"), message)),
            }
        }
        let mut endpoints = HashMap::new();
        for (path, endpoint) in &all {
            let before = last.and_then(|last| last.endpoints.get(&endpoint.name));
            let make = |destination: &config::Destination, provider: &Arc<Provider>| {
                let teller = gossip.map(|gossip| gossip.of(&endpoint.name, &destination.name));
                let same = before.and_then(|last| last.all().find(|known| known.is(destination, provider)));
                same.cloned().unwrap_or_else(|| Arc::new(Destination::new(destination, provider, teller)))
            };
            let built = build_endpoint(path, endpoint, config, &providers, make, &mut problems);
            endpoints.insert(endpoint.name.clone(), Arc::new(built));
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let (gateway, region) = (config.gateway.clone(), config.region.clone());
        let prices = PriceBook::new(&config.prices, &config.region);
        let limits = DestinationLimits::compile(config);
        let output_checks = Overrides::of(config, |_, _, guardrails| Checked::by(guardrails));
        Ok(Self { gateway, region, prices, limits, providers, endpoints, output_checks })
    }

    /// How the answer to a request must pass the guardrail before anyone sees it: to be checked, or to get back what masking took. A
    /// judge's is itself part of a check, a count says nothing, and nobody sees a shadow's.
    pub(crate) fn checked(&self, endpoint: &Endpoint, request: &Request) -> Checked {
        if request.lane == Lane::Judge || request.api_type == ApiType::CountTokens || request.shadow.is_some() {
            return Checked::Not;
        }
        let policies = self.output_checks.apply(&endpoint.checked, &request.caller);
        let restored = if request.restore.is_empty() { Checked::Not } else { Checked::InParts };
        policies.copied().fold(restored, Checked::max)
    }

    /// Takes what another replica has found out about a destination, if it is known here.
    pub(crate) fn hear(&self, endpoint: &str, destination: &str, news: News) {
        let endpoint = self.endpoints.get(endpoint);
        if let Some(known) = endpoint.and_then(|endpoint| endpoint.all().find(|known| known.name == destination)) {
            known.health.hear(news);
        }
    }

    /// The endpoint of that name.
    pub(crate) fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.get(name).cloned()
    }
}

/// Every endpoint with its path in the file: those of the configuration, and those that its judges bring with them.
fn paths<'c>(
    config: &'c Config,
    judges: &'c [(&str, config::Endpoint)],
) -> impl Iterator<Item = (String, &'c config::Endpoint)> {
    let named = config.endpoints.iter().enumerate().map(|(index, endpoint)| (format!("endpoints[{index}]"), endpoint));
    named.chain(judges.iter().map(|(name, endpoint)| (format!("judges.{name}"), endpoint)))
}

fn problem(path: String, message: impl Into<String>) -> Problem {
    Problem { path, message: message.into(), fatal: true }
}

fn build_provider(name: &str, made_of: MadeOf) -> Result<Provider, String> {
    let MadeOf { provider, credentials, connect_timeouts } = &made_of;
    let kind = providers::kind(provider)?;
    let transport = match &kind.base_url {
        None => Transport::Mock,
        Some(base_url) => {
            let keys = provider.api_key.iter().chain(&provider.api_keys).chain(credentials).cloned().collect();
            let http = Http::new(base_url, keys, connect_timeouts);
            Transport::Http(http.map_err(|error| format!("its HTTP client cannot be made: {error}"))?)
        }
    };
    Ok(Provider { name: name.to_owned(), kind, transport, gate: Gate::new(provider.concurrency), made_of })
}

/// The credentials that administrators gave for a provider. One that cannot be opened is logged and left out: the others may do.
fn credentials_of(config: &Config, provider: &str) -> Vec<Secret> {
    let sealed: Vec<_> = config.credentials.iter().filter(|(_, credential)| credential.provider == provider).collect();
    if sealed.is_empty() {
        return Vec::new();
    }
    let sealer = match Sealer::of(&config.admin) {
        Ok(sealer) => sealer,
        Err(error) => {
            tracing::error!(%error, provider, "the provider's credentials cannot be opened");
            return Vec::new();
        }
    };
    let open = |(name, credential): (&String, &config::Credential)| {
        let purpose = config::Credential::purpose(provider, name);
        let opened = sealer.open(&purpose, credential.sealed.expose());
        opened.inspect_err(|error| tracing::error!(%error, provider, name, "a credential cannot be opened")).ok()
    };
    sealed.into_iter().filter_map(open).collect()
}

/// Connect time-outs of the endpoints that use a provider; usually they are all the same.
fn connect_timeouts(all: &[(String, &config::Endpoint)], provider: &str) -> Vec<Duration> {
    let uses = |endpoint: &&config::Endpoint| {
        endpoint.every_destination().any(|(_, destination)| destination.provider == provider)
    };
    let endpoints = all.iter().map(|(_, endpoint)| *endpoint);
    endpoints.filter(uses).map(|endpoint| endpoint.timeout.connect.duration()).collect()
}

fn build_endpoint(
    path: &str,
    endpoint: &config::Endpoint,
    config: &Config,
    providers: &BTreeMap<String, Arc<Provider>>,
    make: impl Fn(&config::Destination, &Arc<Provider>) -> Arc<Destination>,
    problems: &mut Vec<Problem>,
) -> Endpoint {
    let mut built = |list: &str, at: usize, destination: &config::Destination| {
        // A provider that could not be built has its own problem; one that is not there at all is named here.
        if !config.providers.contains_key(&destination.provider) {
            let path = format!("{path}.{list}[{at}].provider");
            problems.push(problem(path, format!("there is no provider `{}`", destination.provider)));
        }
        providers.get(&destination.provider).map(|provider| make(destination, provider))
    };
    let (mut destinations, mut on) = (Vec::new(), Vec::new());
    let lists = [("destinations", &endpoint.destinations), ("fallbacks", &endpoint.fallbacks)];
    for (list, items) in lists {
        for (at, destination) in items.iter().enumerate() {
            let Some(made) = built(list, at, destination) else { continue };
            on.push(destination.on.clone());
            destinations.push(made);
        }
    }
    let mut shadows = Vec::new();
    for (at, shadow) in endpoint.shadows.iter().enumerate() {
        let Some(made) = built("shadows", at, &shadow.destination()) else { continue };
        shadows.push(shadow_of(endpoint, shadow, made));
    }
    Endpoint {
        destinations,
        shares: endpoint.destinations.iter().map(|d| Share { priority: d.priority, weight: d.weight }).collect(),
        on,
        routing: endpoint.routing,
        sticky: endpoint.sticky,
        hedge: endpoint.hedge,
        cache: endpoint.cache,
        checked: Checked::by(&endpoint.guardrails),
        shadows,
        ..without_destinations(endpoint)
    }
}

fn shadow_of(endpoint: &config::Endpoint, shadow: &config::Shadow, destination: Arc<Destination>) -> Shadow {
    let alone = Endpoint {
        destinations: vec![destination],
        shares: vec![Share { priority: 0, weight: 1 }],
        on: vec![Vec::new()],
        ..without_destinations(endpoint)
    };
    Shadow {
        name: shadow.name.clone(),
        share: shadow.share,
        tags: shadow.tags.clone(),
        team: shadow.team.clone().unwrap_or_default(),
        alone: Arc::new(alone),
    }
}

/// What holds at an endpoint whoever is called; nothing of how several share its traffic, or of what becomes of answers.
fn without_destinations(endpoint: &config::Endpoint) -> Endpoint {
    Endpoint {
        destinations: Vec::new(),
        shares: Vec::new(),
        on: Vec::new(),
        routing: Routing::Weighted,
        sticky: None,
        hedge: None,
        cache: None,
        retry: endpoint.retry.clone(),
        timeout: endpoint.timeout,
        checked: Checked::Not,
        drops_unsupported: endpoint.on_unsupported == OnUnsupported::Drop,
        allows_store: endpoint.allow_store,
        resumes: endpoint.on_midstream_failure == OnMidstreamFailure::Resume,
        default_max_tokens: endpoint.reserve_output.max(1),
        tags: endpoint.tags.clone(),
        shadows: Vec::new(),
    }
}
