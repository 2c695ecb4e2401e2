//! Who may do what, and what the credential file is.

use super::*;
use tollgate_runtime::config::{Role, parse};

const TEAMS: &str = "
providers: { demo: { kind: mock } }
endpoints: [ { name: chat, destinations: [ { name: mock, provider: demo, model: mock-1 } ] } ]
teams:
  - { name: search, endpoints: [ chat ], kafka: { requests: in.search, replies: out.search } }
  - { name: ads, endpoints: [ chat ], kafka: { requests: in.ads, replies: out.ads } }
  - { name: silent, endpoints: [ chat ] }
";

fn config(kafka: &str) -> Config {
    parse(&format!("kafka: {{ {kafka} }}\n{TEAMS}"), Role::All, &|_| Ok(None)).expect("valid").config
}

fn of(kafka: &str) -> tollgate_broker::Config {
    broker_config(&config(kafka), "secret").expect("a broker's configuration")
}

const USERS: &str = "users: [ { name: app, password: p, team: search }, { name: other, password: q, team: ads } ]";

#[test]
fn on_loopback_anybody_may_submit_jobs_and_read_answers_and_nothing_else() {
    let broker = of("topic_prefix: 't.'");
    let anybody = &broker.anonymous;
    assert!(anybody.writes("t.in.search") && anybody.writes("t.in.ads") && anybody.reads("t.out.search"));
    for closed in ["t.out.search", "t.in.silent", "t.in.search2", "in.search", "t.usage"] {
        assert!(!anybody.writes(closed), "{closed}");
    }
    for closed in ["t.in.search", "t.replies", "t.usage", "out.search"] {
        assert!(!anybody.reads(closed), "{closed}");
    }
    assert!(anybody.joins("mine", &broker.reserved_groups) && !anybody.joins("t.ingress", &broker.reserved_groups));
    assert!(!anybody.administers());
    let [operator] = &broker.users[..] else { panic!("only the services may log in") };
    assert!(operator.name == OPERATOR && operator.password == "secret" && operator.access == Access::All);
}

#[test]
fn who_names_users_lets_nobody_else_in_and_each_to_its_team() {
    for listen in ["127.0.0.1:9092", "192.0.2.1:9092"] {
        let broker = of(&format!("listen: '{listen}', {USERS}"));
        assert_eq!(broker.anonymous, Access::Nothing);
        let app = &broker.users.iter().find(|user| user.name == "app").expect("it may log in").access;
        assert!(app.writes("tollgate.in.search") && app.reads("tollgate.out.search"));
        assert!(!app.sees("tollgate.in.ads") && !app.sees("tollgate.out.ads") && !app.sees("tollgate.usage"));
        assert!(app.joins("search.app", &broker.reserved_groups));
        for closed in ["ads.app", "search", "searching.app", "mine", "tollgate.ingress"] {
            assert!(!app.joins(closed, &broker.reserved_groups), "{closed}");
        }
    }
}

/// How a team's user of a broker connects.
fn settings_of(embedded: &Embedded, config: &Config, name: &str, password: &str) -> Settings {
    let mut settings = embedded.settings(config, "test");
    settings.properties.insert("sasl.username".into(), name.into());
    settings.properties.insert("sasl.password".into(), password.into());
    settings.properties.insert("message.timeout.ms".into(), "60000".into());
    settings
}

async fn produced(settings: Settings, topic: &str) -> Result<(), tollgate_bus::Error> {
    let producer = tollgate_bus::Bus::new(settings).producer(tollgate_bus::Profile::Bulk)?;
    let record = tollgate_bus::Outgoing {
        topic: tollgate_bus::TopicName::Full(topic.into()),
        partition: None,
        key: None,
        headers: tollgate_bus::Headers::default(),
        payload: b"{}".to_vec(),
        is_tombstone: false,
        relaxed: false,
    };
    producer.send_acked(record).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_configuration_applies_to_the_running_broker() {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |users: &str| {
        let mut config = config(&format!("listen: '127.0.0.1:0', partitions: {{ default: 1 }}, {users}"));
        config.data_dir = folder.path().display().to_string();
        config
    };
    let mut before = of("users: [ { name: app, password: p, team: search } ]");
    before.teams.retain(|team| team.name == "search");
    let embedded = Embedded::start(&before).await.expect("started");
    let services = stack::connect(&before, embedded.settings(&before, "test")).await.expect("topics");
    produced(settings_of(&embedded, &before, "app", "p"), "tollgate.in.search").await.expect("taken");

    // A team, its topics and its user are new; the other user has another password.
    let after = of("users: [ { name: app, password: new, team: search }, { name: ads, password: q, team: ads } ]");
    embedded.lock().apply(&after);
    let ads = after.team("ads").and_then(|team| after.team_topics(team)).expect("it has topics");
    let ads = tollgate_bus::TeamTopics { requests: ads.0, replies: ads.1 };
    services.ensure_topics(std::slice::from_ref(&ads)).await.expect("created by the services while all runs");
    produced(settings_of(&embedded, &after, "ads", "q"), "tollgate.in.ads").await.expect("taken");
    produced(settings_of(&embedded, &after, "app", "new"), "tollgate.in.search").await.expect("taken");
    produced(settings_of(&embedded, &after, "ads", "q"), "tollgate.in.search").await.expect_err("not its topic");
    produced(embedded.settings(&after, "test"), "tollgate.usage").await.expect("the services stay");

    embedded.lock().apply(&of(""));
    let mut anybody = embedded.settings(&after, "test");
    anybody.properties.clear();
    produced(anybody.clone(), "tollgate.in.ads").await.expect("without users, anybody on loopback writes jobs");
    produced(anybody, "tollgate.usage").await.expect_err("and nothing else");
    embedded.stop().await.expect("in order");
}

#[test]
fn settings_become_the_brokers() {
    let broker = of(&format!("listen: '0.0.0.0:7', advertised: 'host:9', fsync: always, {USERS}"));
    assert_eq!((broker.listen.port(), broker.advertised), (7, Some(("host".into(), 9))));
    assert_eq!(broker.fsync, Fsync::Always);
    assert_eq!(of("").fsync, Fsync::default());
    assert!(broker.dir.ends_with("tollgate-data/broker"));
    assert_eq!(reachable("0.0.0.0:7".parse().expect("address")).to_string(), "127.0.0.1:7");
    assert_eq!(reachable("[::]:7".parse().expect("address")).to_string(), "[::1]:7");
    assert_eq!(reachable("192.0.2.1:7".parse().expect("address")).to_string(), "192.0.2.1:7");
}

#[test]
fn offsets_outlive_the_records_they_point_into() {
    const DAY_MS: i64 = 86_400_000;
    let mut config = config("");
    for (days, expected) in [(7, 37), (300, 307)] {
        config.retention.requests = file::Millis(days * 86_400_000);
        let broker = broker_config(&config, "secret").expect("a broker's configuration");
        assert_eq!(broker.limits.offsets_retention_ms, expected * DAY_MS);
    }
}

#[test]
fn more_partitions_than_it_has_room_for_are_a_configuration_error() {
    assert!(problems(&config("")).is_empty());
    let [problem] = &problems(&config("partitions: { default: 1000 }"))[..] else { panic!("one problem") };
    assert!(problem.fatal && problem.path == "kafka.partitions.default", "{problem}");
    assert!(problems(&config("brokers: 'kafka:9092', partitions: { default: 1000 }")).is_empty());
}

#[test]
fn the_credential_is_for_its_owner_and_reads_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data").join("broker");
    private_folder(&dir).expect("made");
    private_folder(&dir).expect("there already");
    let file = dir.join("credential");
    for password in ["first", "second=with=signs"] {
        Credential::new("127.0.0.1:9".parse().expect("address"), password).write(&file).expect("written");
        let settings = Credential::read(&file).expect("read").settings(&config(""), "test");
        assert_eq!((settings.brokers.as_str(), settings.client_id.as_str()), ("127.0.0.1:9", "tollgate-test"));
        assert_eq!(settings.properties["sasl.password"], password);
        assert_eq!(settings.properties["security.protocol"], "SASL_PLAINTEXT");
        assert_eq!(settings.properties.len(), 4);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
    }
}

#[test]
fn a_command_says_what_to_do_when_there_is_no_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config("");
    config.data_dir = folder.path().display().to_string();
    let error = settings_of_running(&config, "submit").err().expect("nobody has written a credential");
    assert!(error.to_string().contains("tollgate up") && error.to_string().contains("--brokers"), "{error}");
}
