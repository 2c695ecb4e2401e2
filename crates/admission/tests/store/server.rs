//! A Valkey or Redis of the test's own, on a free port, in memory only.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How often it is asked whether it answers, 50 ms apart.
const PATIENCE: u32 = 600;

/// A running server; ends with the value.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// `None` if the tests were not asked to use one.
    pub(crate) fn start() -> Option<Self> {
        std::env::var_os("TOLLGATE_TEST_VALKEY")?;
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
        let arguments = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"];
        let run = |program: &str| {
            Command::new(program).args(arguments).arg(port.to_string()).stdout(Stdio::null()).spawn().ok()
        };
        let child = run("valkey-server").or_else(|| run("redis-server")).expect(
            "TOLLGATE_TEST_VALKEY is set and neither valkey-server nor redis-server is installed: install one, or unset it",
        );
        let server = Self { child, port };
        for _ in 0..PATIENCE {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server does not answer on port {port}");
    }

    /// What `admission.store` would say.
    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs one command.
    pub(crate) fn command(&self, name: &str) -> redis::Value {
        let client = redis::Client::open(self.address()).expect("an address");
        redis::cmd(name).query(&mut client.get_connection().expect("a connection")).expect("an answer")
    }

    /// Every key and its time to live, milliseconds; −1: for ever.
    pub(crate) fn lives(&self) -> Vec<(String, i64)> {
        let client = redis::Client::open(self.address()).expect("an address");
        let mut connection = client.get_connection().expect("a connection");
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).expect("keys");
        let live = |key: &String| redis::cmd("PTTL").arg(key).query(&mut client.get_connection().expect("connection"));
        keys.iter().map(|key| (key.clone(), live(key).expect("a time"))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
