//! The router's part of the configuration, ready to use: endpoints with their destinations, providers with their
//! clients. Credentials are resolved for this service only and live here only.

use crate::{
    gate::Gate,
    health::Health,
    prices::PriceBook,
    providers::{self, Http, Kind, Transport},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tollgate_runtime::config::{self, Config, Problem, Problems, Retry, Timeout};

/// Everything the router knows.
pub(crate) struct Router {
    /// `gateway`, for the usage table.
    pub gateway: String,
    /// `region`, for the usage table.
    pub region: String,
    /// Prices.
    pub prices: PriceBook,
    endpoints: HashMap<String, Arc<Endpoint>>,
}

/// Where requests for one endpoint go.
pub(crate) struct Endpoint {
    /// The weighted destinations, then the fallbacks.
    pub destinations: Vec<Destination>,
    /// Weights of the first ones of `destinations`; the rest are fallbacks.
    pub weights: Vec<u32>,
    /// How often to try again.
    pub retry: Retry,
    /// How long to wait.
    pub timeout: Timeout,
    /// Answers must pass the guardrail before anyone sees them.
    pub is_checked: bool,
    /// Output tokens when the caller sets no maximum and the provider demands one: what admission reserved.
    pub default_max_tokens: u32,
    /// For the usage table.
    pub tags: BTreeMap<String, String>,
}

/// A model at a provider.
pub(crate) struct Destination {
    /// Its name.
    pub name: String,
    /// The provider.
    pub provider: Arc<Provider>,
    /// The model's name there.
    pub model: String,
    /// Its own bound on concurrent calls, below the provider's.
    pub gate: Option<Gate>,
    /// Whether it may be called at present.
    pub health: Health,
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
}

impl Router {
    /// Builds clients and tables. Reports every problem at once, with its path in the file.
    pub(crate) fn new(config: &Config) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.providers {
            match build_provider(config, name, provider) {
                Ok(built) => drop(providers.insert(name.clone(), Arc::new(built))),
                Err(message) => problems.push(problem(format!("providers.{name}"), message)),
            }
        }
        let mut endpoints = HashMap::new();
        for (index, endpoint) in config.endpoints.iter().enumerate() {
            let built = build_endpoint(index, endpoint, config, &providers, &mut problems);
            endpoints.insert(endpoint.name.clone(), Arc::new(built));
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let prices = PriceBook::new(&config.prices, &config.region);
        Ok(Self { gateway: config.gateway.clone(), region: config.region.clone(), prices, endpoints })
    }

    /// The endpoint of that name.
    pub(crate) fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.get(name).cloned()
    }
}

fn problem(path: String, message: impl Into<String>) -> Problem {
    Problem { path, message: message.into(), fatal: true }
}

fn build_provider(config: &Config, name: &str, provider: &config::Provider) -> Result<Provider, String> {
    let Some(kind) = providers::kind(provider.kind) else {
        return Err(format!("kind `{}` is not supported by this release", provider.kind.as_str()));
    };
    let transport = match kind.base_url {
        None => Transport::Mock,
        Some(default) => {
            let base_url = provider.base_url.as_deref().unwrap_or(default);
            let keys = provider.api_key.iter().chain(&provider.api_keys).cloned().collect();
            let http = Http::new(base_url, keys, &connect_timeouts(config, name));
            Transport::Http(http.map_err(|error| format!("its HTTP client cannot be made: {error}"))?)
        }
    };
    Ok(Provider { name: name.to_owned(), kind, transport, gate: Gate::new(provider.concurrency) })
}

/// Connect time-outs of the endpoints that use a provider; usually they are all the same.
fn connect_timeouts(config: &Config, provider: &str) -> Vec<Duration> {
    let uses = |endpoint: &&config::Endpoint| {
        endpoint.destinations.iter().chain(&endpoint.fallbacks).any(|destination| destination.provider == provider)
    };
    config.endpoints.iter().filter(uses).map(|endpoint| endpoint.timeout.connect.duration()).collect()
}

fn build_endpoint(
    index: usize,
    endpoint: &config::Endpoint,
    config: &Config,
    providers: &BTreeMap<String, Arc<Provider>>,
    problems: &mut Vec<Problem>,
) -> Endpoint {
    let mut destinations = Vec::new();
    let lists = [("destinations", &endpoint.destinations), ("fallbacks", &endpoint.fallbacks)];
    for (list, items) in lists {
        for (at, destination) in items.iter().enumerate() {
            // A provider that could not be built has its own problem; one that is not there at all is named here.
            if !config.providers.contains_key(&destination.provider) {
                let path = format!("endpoints[{index}].{list}[{at}].provider");
                problems.push(problem(path, format!("there is no provider `{}`", destination.provider)));
            }
            let Some(provider) = providers.get(&destination.provider) else { continue };
            destinations.push(Destination {
                name: destination.name.clone(),
                provider: provider.clone(),
                model: destination.model.clone(),
                gate: destination.concurrency.map(Gate::new),
                health: Health::default(),
            });
        }
    }
    Endpoint {
        destinations,
        weights: endpoint.destinations.iter().map(|destination| destination.weight).collect(),
        retry: endpoint.retry.clone(),
        timeout: endpoint.timeout,
        is_checked: endpoint.guardrails.output.any(),
        default_max_tokens: endpoint.reserve_output.max(1),
        tags: endpoint.tags.clone(),
    }
}
