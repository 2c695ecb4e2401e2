//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use tollgate_bus::dead_letters::Place;
use tollgate_runtime::config::{Millis, Over, Role};

/// An AI gateway on Kafka: one API in front of every LLM provider.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Everything `tollgate` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: all four services and, unless a cluster is named, the embedded broker.
    Up(Up),
    /// Run ingress alone: the HTTP and Kafka doors.
    Ingress(Run),
    /// Run guardrail alone: input and output checks.
    Guardrail(Run),
    /// Run router-worker alone: provider calls.
    RouterWorker(Run),
    /// Run usage-aggregator alone: the ledger of Parquet files.
    UsageAggregator(Run),
    /// Write a minimal tollgate.yaml and print a key for it.
    Init(Init),
    /// Check or show a configuration.
    #[command(subcommand)]
    Config(Config),
    /// Turn another gateway's configuration into Tollgate's.
    #[command(subcommand)]
    Import(Import),
    /// Make API keys, and see and change those of a running gateway.
    #[command(subcommand)]
    Keys(Keys),
    /// See and change teams.
    #[command(subcommand)]
    Teams(Verb),
    /// See and change users and service accounts.
    #[command(subcommand)]
    Users(Verb),
    /// See and change endpoints: what callers name as `model`, and where it goes.
    #[command(subcommand)]
    Endpoints(Verb),
    /// See and change providers.
    #[command(subcommand)]
    Providers(Verb),
    /// See and change providers' credentials, which are stored encrypted.
    #[command(subcommand)]
    Credentials(Verb),
    /// See and change guardrail policies, and try others on past traffic.
    #[command(subcommand)]
    Guardrails(Guardrails),
    /// See and change budgets.
    #[command(subcommand)]
    Budgets(Verb),
    /// See and change prices.
    #[command(subcommand)]
    Prices(Verb),
    /// Show who changed what, newest first.
    Audit(Audit),
    /// Submit a JSONL file of jobs to a team's topic and wait for the answers.
    Submit(Submit),
    /// Look at records that nobody could process, and put them back.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Show who used what: a chargeback table read from the usage files.
    Usage(Usage),
    /// Help for operating Kafka.
    #[command(subcommand)]
    Kafka(Kafka),
    /// Start everything on a temporary directory, send requests of every kind, and show what happened.
    Demo(Demo),
}

/// Where the configuration and Kafka are.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// The configuration file. `up` runs without one, with the mock provider and a key it prints.
    #[arg(long, env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Kafka's bootstrap servers, host:port,host:port; over kafka.brokers.
    #[arg(long, env = "TOLLGATE_BROKERS")]
    pub brokers: Option<String>,
    /// Address of the API, health and metrics, host:port; over listen.
    #[arg(long, env = "TOLLGATE_LISTEN")]
    pub listen: Option<String>,
}

/// `tollgate up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented above")]
    pub run: Run,
    /// Where the embedded broker takes Kafka clients, host:port; over kafka.listen.
    #[arg(long, env = "TOLLGATE_KAFKA_LISTEN")]
    pub kafka_listen: Option<String>,
}

impl Run {
    /// What is said here, to be laid over the file.
    pub fn over(&self) -> Over {
        Over { listen: self.listen.clone(), brokers: self.brokers.clone(), kafka_listen: None }
    }
}

impl Up {
    /// As [`Run::over`].
    pub fn over(&self) -> Over {
        Over { kafka_listen: self.kafka_listen.clone(), ..self.run.over() }
    }
}

/// `tollgate init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Where to write it. An existing file is never touched.
    #[arg(default_value = "tollgate.yaml")]
    pub path: PathBuf,
}

/// `tollgate config …`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Report every problem of a configuration at once. Exits 1 if there is an error.
    Check {
        /// The file.
        #[arg(long, default_value = "tollgate.yaml", env = "TOLLGATE_CONFIG")]
        config: PathBuf,
        /// Check as this service would: only its secrets must be there.
        #[arg(long, value_enum, default_value_t = RoleName::All)]
        service: RoleName,
    },
    /// Print a configuration as Tollgate understands it, secrets as ***.
    Show {
        /// The file.
        #[arg(long, default_value = "tollgate.yaml", env = "TOLLGATE_CONFIG")]
        config: PathBuf,
        /// Every section with its defaults, not only those in the file. With an administrator's key, as the running gateway has it:
        /// with what was changed since over the file.
        #[arg(long)]
        effective: bool,
        /// Address of the API of any ingress.
        #[arg(long, env = "TOLLGATE_URL", default_value = "http://127.0.0.1:8080")]
        url: String,
        /// The administrator's key. Better in the environment than on the command line.
        #[arg(long, env = "TOLLGATE_ADMIN_KEY", hide_env_values = true)]
        admin_key: Option<String>,
    },
}

/// `tollgate import …`.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// Read a LiteLLM proxy's configuration and write Tollgate's. What could not be carried over is named on standard error.
    Litellm {
        /// LiteLLM's file.
        config: PathBuf,
        /// Where to write Tollgate's. An existing file is never touched. Default: standard output.
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
}

/// A service's name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RoleName {
    Ingress,
    Guardrail,
    RouterWorker,
    UsageAggregator,
    All,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Ingress => Role::Ingress,
            RoleName::Guardrail => Role::Guardrail,
            RoleName::RouterWorker => Role::RouterWorker,
            RoleName::UsageAggregator => Role::UsageAggregator,
            RoleName::All => Role::All,
        }
    }
}

/// `tollgate keys …`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key for a configuration file: prints it once, and the line for the file, which holds only its hash.
    New {
        /// Name of the key.
        #[arg(long, default_value = "my-key")]
        name: String,
        /// Team it belongs to.
        #[arg(long, default_value = "search")]
        team: String,
    },
    /// Give a key a new secret, which is printed once; the old one works for a while.
    Rotate {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Api,
        /// Which key.
        name: String,
        /// How long the old secret still works: 24h, 15m, 0s.
        #[arg(long, default_value = "24h")]
        grace: Millis,
    },
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented there")]
    Verb(Verb),
}

/// `tollgate guardrails …`.
#[derive(Debug, Subcommand)]
pub enum Guardrails {
    /// Run other guardrails over the requests and answers that the topics still have, and show what they would have done. Nothing is
    /// sent to anybody, and no text is shown.
    Replay(Replay),
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented there")]
    Verb(Verb),
}

/// `tollgate guardrails replay`.
#[derive(Debug, Args)]
pub struct Replay {
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented there")]
    pub at: Log,
    /// A configuration file with the guardrails to try: its named policies, judges, and those of endpoints, teams and keys.
    #[arg(long)]
    pub policy: PathBuf,
    /// How far back: 1h, 7d and so on.
    #[arg(long, default_value = "24h")]
    pub since: Millis,
    /// How many of the requests to list for which something differs.
    #[arg(long, default_value_t = 20)]
    pub show: usize,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Where a gateway is, and who asks.
#[derive(Debug, Clone, Args)]
pub struct Api {
    /// Address of the API of any ingress.
    #[arg(long, env = "TOLLGATE_URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The administrator's key. Better in the environment than on the command line.
    #[arg(long, env = "TOLLGATE_ADMIN_KEY", hide_env_values = true)]
    pub admin_key: String,
}

/// What can be done with every kind of object of a running gateway.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List them all.
    List {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Api,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show one, as YAML.
    Get {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Api,
        /// Which.
        name: String,
        /// As JSON, with version and source.
        #[arg(long)]
        json: bool,
    },
    /// Make one that does not exist yet.
    Create {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Api,
        /// YAML or JSON, as in the configuration file; - is standard input.
        #[arg(short, long, default_value = "-")]
        file: PathBuf,
    },
    /// Replace one, or make it.
    Update {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Api,
        /// Which.
        name: String,
        /// YAML or JSON, as in the configuration file; - is standard input.
        #[arg(short, long, default_value = "-")]
        file: PathBuf,
        /// Only if this is still its version, as `get --json` shows it.
        #[arg(long)]
        if_version: Option<i64>,
    },
    /// Remove one. One of the configuration file is hidden by that, for good.
    Delete {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Api,
        /// Which.
        name: String,
        /// Only if this is still its version.
        #[arg(long)]
        if_version: Option<i64>,
    },
}

/// `tollgate audit`.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented there")]
    pub at: Api,
    /// Only one kind: teams, keys, …
    #[arg(long)]
    pub kind: Option<String>,
    /// Only objects of this name.
    #[arg(long)]
    pub name: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
    /// As a JSON array, with what each object became.
    #[arg(long)]
    pub json: bool,
}

/// `tollgate submit`.
#[derive(Debug, Args)]
pub struct Submit {
    /// One job a line: {"custom_id", "url", "body", "metadata"}, as OpenAI's batch files.
    pub file: PathBuf,
    /// The configuration file (topics and Kafka's settings).
    #[arg(long, env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
    pub config: PathBuf,
    /// Kafka's bootstrap servers; over kafka.brokers. An embedded broker of this user's on this machine is found without.
    #[arg(long, env = "TOLLGATE_BROKERS")]
    pub brokers: Option<String>,
    /// The team whose topics are used. May be left out if only one has any.
    #[arg(long)]
    pub team: Option<String>,
    /// Where to write the answers, in the order of the input. Default: FILE with `.out.jsonl`.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Give up this many seconds after the last answer.
    #[arg(long, default_value_t = 600)]
    pub timeout_s: u64,
}

/// `tollgate dead-letters …`.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List dead letters, newest last: when, where, from where and why, never what is in them.
    List {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Log,
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        chosen: Chosen,
        /// At most so many, the newest.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter whole: its headers and its bytes, which may hold a prompt or an answer.
    Show {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Log,
        /// PARTITION/OFFSET, as `list` shows it.
        place: Place,
        /// Write the original bytes to standard output, and nothing else.
        #[arg(long)]
        raw: bool,
    },
    /// Put dead letters back to the topics they came from, with their bytes, headers and keys.
    ///
    /// Do it once what made them fail is mended. A dead letter stays in the list, so who redrives twice has it done twice.
    /// A request whose caller was told of an error is executed again: its second row goes to the table usage_superseded, a job's
    /// answer comes again with the same id, and a deadline that has passed ends it at once. A record of a team's in topic gets a
    /// new offset, and so is a new request with a new id.
    Redrive {
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        at: Log,
        /// PARTITION/OFFSET, as `list` shows it.
        #[arg(required_unless_present = "all", conflicts_with_all = ["all", "since", "topic"])]
        places: Vec<Place>,
        /// All of them, or all that --since and --topic leave.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        #[allow(missing_docs, reason = "documented there")]
        chosen: Chosen,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
        /// Also what came back as often as is allowed.
        #[arg(long)]
        force: bool,
    },
}

/// Which gateway's log.
#[derive(Debug, Clone, Args)]
pub struct Log {
    /// The configuration file (topics and Kafka's settings).
    #[arg(long, env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
    pub config: PathBuf,
    /// Kafka's bootstrap servers; over kafka.brokers. An embedded broker of this user's on this machine is found without.
    #[arg(long, env = "TOLLGATE_BROKERS")]
    pub brokers: Option<String>,
}

/// Which dead letters.
#[derive(Debug, Clone, Args)]
pub struct Chosen {
    /// Only those of the last 1h, 7d and so on.
    #[arg(long)]
    pub since: Option<Millis>,
    /// Only those that came from this topic, with or without kafka.topic_prefix.
    #[arg(long)]
    pub topic: Option<String>,
}

/// `tollgate usage`.
#[derive(Debug, Args)]
pub struct Usage {
    /// What to group by, comma separated: team, key, user, endpoint, model, provider, destination, day, tag:NAME.
    #[arg(long, value_delimiter = ',', default_value = "team,model")]
    pub by: Vec<String>,
    /// The month, YYYY-MM, UTC. Default: this month.
    #[arg(long)]
    pub month: Option<String>,
    /// The configuration file (storage). Without one: ./tollgate-data.
    #[arg(long, env = "TOLLGATE_CONFIG")]
    pub config: Option<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// How to print a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Format {
    Table,
    Csv,
    Json,
}

/// `tollgate kafka …`.
#[derive(Debug, Subcommand)]
pub enum Kafka {
    /// Print the least-privilege ACLs for Apache Kafka, as kafka-acls.sh commands.
    Acls {
        /// The configuration file.
        #[arg(long, env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
        config: PathBuf,
        /// The principal the services connect as.
        #[arg(long, default_value = "User:tollgate")]
        services: String,
    },
}

/// `tollgate demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Kafka's bootstrap servers. Default: the embedded broker, on a free port.
    #[arg(long, env = "TOLLGATE_BROKERS")]
    pub brokers: Option<String>,
    /// Keep the temporary directory.
    #[arg(long)]
    pub keep: bool,
}
