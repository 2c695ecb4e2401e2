//! The broker inside `tollgate up`: what the configuration means to it, who may do what there, and how the services and
//! commands of the same user log in.
//!
//! Whoever serves the log holds every prompt, so it is locked: the services log in with a password made at each start; any
//! other client may produce to the teams' `in.` topics and read their `out.` topics, and nothing else.
//!
//! Not here: the broker (`tollgate_broker`, which knows nothing of teams), and its order among the services ([`crate::stack`]).

use crate::stack;
use anyhow::{Context, bail};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;
use tollgate_broker::{Access, AccessControl, Broker, Fsync, Handle, Limits, Pattern, User};
use tollgate_bus::Settings;
use tollgate_runtime::{
    Config, Secret,
    config::{self as file, OPERATOR, Problem, Team},
};
use tollgate_schemas::topic::{self, Partitions};

const BOOTSTRAP: &str = "bootstrap.servers";

/// A running broker.
#[derive(Debug)]
pub struct Embedded {
    handle: Handle,
    lock: Lock,
    credential: Credential,
    /// Where the credential was written, for commands of the same user.
    file: PathBuf,
}

/// Who may do what on the running broker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lock {
    access: AccessControl,
    address: SocketAddr,
    /// The services' password, which no configuration changes.
    password: Secret,
}

impl Lock {
    /// Has the broker follow a changed configuration: `kafka.users`, and the teams' topics and groups. Open connections too are judged by it
    /// from now on; users who are gone or have another password are disconnected. The services stay. Whoever calls this makes a new team's topics
    /// (`Bus::ensure_topics`), before or after.
    pub fn apply(&self, config: &Config) {
        let (users, anonymous) = grants(config, self.address, self.password.expose());
        self.access.replace(users, anonymous);
    }
}

/// How to reach the broker as its operator: librdkafka's properties, so that its tools read the file as it is.
#[derive(Clone)]
struct Credential(BTreeMap<String, String>);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Embedded {
    /// Opens the log under `data_dir`, recovers what a crash left, and takes clients.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let password = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let wanted = broker_config(config, &password)?;
        let folder = wanted.dir.clone();
        private_folder(&folder).with_context(|| format!("data_dir: {} cannot be used", folder.display()))?;
        let started =
            tokio::task::spawn_blocking(move || Broker::start(wanted)).await.context("the embedded broker")?;
        let handle = started.map_err(|error| refused(config, error))?;
        let (access, address) = (handle.access(), handle.address());
        let lock = Lock { access, address, password: Secret::new(password.as_str()) };
        let credential = Credential::new(reachable(handle.address()), &password);
        let file = file_of(config);
        // After the start: the folder's lock says that no other broker's credential is there.
        credential.write(&file).with_context(|| format!("{} cannot be written", file.display()))?;
        tracing::info!(address = %handle.address(), folder = %folder.display(), "the embedded broker takes Kafka clients");
        Ok(Self { handle, lock, credential, file })
    }

    /// How the services connect.
    pub fn settings(&self, config: &Config, client: &str) -> Settings {
        self.credential.settings(config, client)
    }

    /// To change who may do what.
    pub fn lock(&self) -> Lock {
        self.lock.clone()
    }

    /// Cancelled once the broker has ended, asked to or not.
    pub fn ended(&self) -> CancellationToken {
        self.handle.ended()
    }

    /// Writes everything to the disk and ends. Says why, if the broker had ended by itself.
    pub async fn stop(self) -> anyhow::Result<()> {
        // The password dies with the broker; a file that stays behind would only mislead.
        let _ = fs::remove_file(&self.file);
        let stopped = tokio::task::spawn_blocking(move || self.handle.shutdown()).await;
        stopped.context("the embedded broker")?.context("the embedded broker")
    }
}

/// How a command of the same user connects to the broker of a gateway that runs now.
pub fn settings_of_running(config: &Config, client: &str) -> anyhow::Result<Settings> {
    let file = file_of(config);
    match Credential::read(&file) {
        Ok(credential) => Ok(credential.settings(config, client)),
        Err(error) => bail!(
            "kafka.brokers is embedded, and {} cannot be read ({error}): is `tollgate up` running with this configuration, from \
             this folder and as this user? From elsewhere, pass --brokers HOST:PORT",
            file.display()
        ),
    }
}

/// What the embedded broker cannot do, although a cluster could.
pub fn problems(config: &Config) -> Vec<Problem> {
    let counts = &config.kafka.partitions;
    let internal = topic::all().into_iter().map(|spec| match spec.partitions {
        Partitions::Default => counts.default,
        Partitions::Usage => counts.usage,
        Partitions::One => 1,
    });
    let teams = config.teams.iter().filter(|team| team.kafka.is_some()).map(|_| counts.default.saturating_mul(2));
    let wanted: i64 = internal.chain(teams).map(i64::from).sum();
    let limit = Limits::default().partitions;
    if !config.kafka.is_embedded() || usize::try_from(wanted).is_ok_and(|wanted| wanted <= limit) {
        return Vec::new();
    }
    let message = format!("makes {wanted} partitions in all; the embedded broker has room for {limit}: set it lower");
    vec![Problem { path: "kafka.partitions.default".into(), message, fatal: true }]
}

fn folder_of(config: &Config) -> PathBuf {
    Path::new(&config.data_dir).join("broker")
}

fn file_of(config: &Config) -> PathBuf {
    folder_of(config).join("credential")
}

/// Prompts and answers are in there.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    folder.parent().map_or(Ok(()), fs::create_dir_all)?;
    builder.create(folder).or_else(|error| if folder.is_dir() { Ok(()) } else { Err(error) })
}

/// What to do about it, before the broker's own words.
fn refused(config: &Config, error: tollgate_broker::Error) -> anyhow::Error {
    let advice = match &error {
        tollgate_broker::Error::Listen { address, .. } => format!(
            "kafka.listen: {address} cannot be bound; stop what uses it, or set kafka.listen (or pass --kafka-listen) to another"
        ),
        _ => format!("the embedded broker did not start on the log in {}", folder_of(config).display()),
    };
    anyhow::Error::new(error).context(advice)
}

fn broker_config(config: &Config, password: &str) -> anyhow::Result<tollgate_broker::Config> {
    let kafka = &config.kafka;
    let listen: SocketAddr = kafka.listen.parse().with_context(|| format!("kafka.listen: {}", kafka.listen))?;
    let (users, anonymous) = grants(config, listen, password);
    Ok(tollgate_broker::Config {
        listen,
        advertised: kafka.advertised.as_deref().and_then(file::host_and_port),
        fsync: match kafka.fsync {
            file::Fsync::Always => Fsync::Always,
            file::Fsync::Interval => Fsync::default(),
        },
        users,
        anonymous,
        reserved_groups: vec![Pattern::Prefix(kafka.topic_prefix.clone())],
        limits: Limits { offsets_retention_ms: offsets_retention_ms(config), ..Limits::default() },
        ..tollgate_broker::Config::open_to_all(folder_of(config))
    })
}

/// Longer than any record that a group works off is kept: a group whose offsets were forgotten first would do all of it again.
fn offsets_retention_ms(config: &Config) -> i64 {
    const DAY_MS: u64 = 86_400_000;
    let longest = config.retention.requests.0.max(30 * DAY_MS);
    i64::try_from(longest + 7 * DAY_MS).unwrap_or(i64::MAX)
}

/// Who may log in, and what anybody else may do. `listen` is where the broker listens, which no change of the configuration moves.
fn grants(config: &Config, listen: SocketAddr, password: &str) -> (Vec<User>, Access) {
    let given = &config.kafka.users;
    let mut users = vec![User { name: OPERATOR.to_owned(), password: password.to_owned(), access: Access::All }];
    users.extend(given.iter().map(|user| {
        let team = config.team(&user.team);
        let groups = team.map(|team| Pattern::Prefix(team.groups())).into_iter().collect();
        let access = access(config, team.into_iter(), groups);
        User { name: user.name.clone(), password: user.password.expose().to_owned(), access }
    }));
    // Whoever names users wants them: then nobody gets in without a name, not even from this machine.
    let open = listen.ip().is_loopback() && given.is_empty();
    let anybody = || access(config, config.teams.iter(), vec![Pattern::Prefix(String::new())]);
    (users, if open { anybody() } else { Access::Nothing })
}

/// What whoever speaks for these teams may do: write their jobs, read their answers in one of `groups`.
fn access<'a>(config: &Config, teams: impl Iterator<Item = &'a Team>, groups: Vec<Pattern>) -> Access {
    let (write, read) =
        teams.filter_map(|team| config.team_topics(team)).map(|(r, a)| (Pattern::Exact(r), Pattern::Exact(a))).unzip();
    Access::Only { read, write, groups }
}

/// An address to connect to, from one to listen on.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl Credential {
    fn new(address: SocketAddr, password: &str) -> Self {
        let address = address.to_string();
        let properties = [
            (BOOTSTRAP, address.as_str()),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", OPERATOR),
            ("sasl.password", password),
        ];
        Self(properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    fn settings(&self, config: &Config, client: &str) -> Settings {
        let mut properties = self.0.clone();
        let brokers = properties.remove(BOOTSTRAP).unwrap_or_default();
        let mut settings = stack::settings_at(config, brokers, client);
        settings.properties.extend(properties);
        settings
    }

    /// Whole or not at all, and never readable by others.
    fn write(&self, file: &Path) -> std::io::Result<()> {
        use std::io::Write;
        let mut text =
            "# How the services reach every topic of the embedded broker, until they stop. Keep it secret.\n"
                .to_owned();
        for (name, value) in &self.0 {
            text.push_str(&format!("{name}={value}\n"));
        }
        let next = file.with_extension("next");
        let _ = fs::remove_file(&next);
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&next)?.write_all(text.as_bytes())?;
        fs::rename(&next, file)
    }

    fn read(file: &Path) -> std::io::Result<Self> {
        let text = fs::read_to_string(file)?;
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Ok(Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

#[cfg(test)]
mod tests;
