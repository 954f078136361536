//! The client against a node of ours, in this process, over real sockets.
#![allow(missing_docs)]

#[path = "client/admin.rs"]
mod admin;
#[path = "client/data.rs"]
mod data;
#[path = "client/fake.rs"]
mod fake;
#[path = "client/groups.rs"]
mod groups;
#[path = "client/hostile.rs"]
mod hostile;
#[path = "client/keys.rs"]
mod keys;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use client::admin::NewTopic;
use client::{Admin, Client, Options};
use server::{Running, Settings, start};

/// No test takes longer; each waits for what it needs, not for a time.
const DEADLINE: Duration = Duration::from_secs(120);

/// A node, and the directory it is on. With OTTLA_PEER=apache in the environment it is one of
/// Apache Kafka, which is how we know that the client asks for nothing that Apache Kafka itself
/// doesn't do.
pub struct Node {
    running: Serving,
    pub port: u16,
    dir: tempfile::TempDir,
}

enum Serving {
    Ours(Box<Running>),
    Apache(tokio::process::Child),
}

impl Node {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (running, port) = serve(dir.path().to_owned(), 0).await;
        Self { running, port, dir }
    }

    pub async fn stop(self) {
        self.running.stop().await;
    }

    /// Stops, and starts again on the same port and directory.
    pub async fn restart(self) -> Self {
        let Self { running, port, dir } = self;
        running.stop().await;
        let (running, port) = serve(dir.path().to_owned(), port).await;
        Self { running, port, dir }
    }

    pub fn options(&self, properties: &[(&str, &str)]) -> Options {
        let server = format!("localhost:{}", self.port);
        let mut all = BTreeMap::from([("bootstrap.servers".to_owned(), server)]);
        all.extend(properties.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        Options::from_properties(&all).expect("options")
    }

    pub async fn client(&self, properties: &[(&str, &str)]) -> Client {
        Client::connect(self.options(properties)).await.expect("a connection")
    }

    pub async fn topic(&self, name: &str, partitions: i32) -> Admin {
        let admin = Admin::new(self.client(&[]).await);
        let made = admin.create_topics(&[NewTopic::new(name, partitions)], false).await.unwrap();
        made[0].1.as_ref().expect("a topic");
        admin
    }
}

impl Serving {
    async fn stop(self) {
        match self {
            Self::Ours(running) => running.stop().await.expect("a clean stop"),
            Self::Apache(mut child) => {
                let id = child.id().expect("a running node").to_string();
                let asked = tokio::process::Command::new("kill").arg(id).status().await;
                assert!(asked.expect("kill").success());
                child.wait().await.expect("an end");
            }
        }
    }
}

async fn serve(dir: PathBuf, port: u16) -> (Serving, u16) {
    if std::env::var("OTTLA_PEER").as_deref() == Ok("apache") {
        return apache(dir, port).await;
    }
    let settings = Settings::alone(dir, port, false);
    let running = start(settings).await.unwrap_or_else(|error| panic!("{error}"));
    let port = running.address.port();
    (Serving::Ours(Box::new(running)), port)
}

/// Starts a node of Apache Kafka and waits until it answers.
async fn apache(dir: PathBuf, port: u16) -> (Serving, u16) {
    let port = match port {
        0 => std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        port => port,
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/peer");
    let log = std::fs::File::create(dir.join("peer.log")).unwrap();
    let child = tokio::process::Command::new(script)
        .arg(&dir)
        .arg(port.to_string())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the peer");
    let options = Options::new(&format!("127.0.0.1:{port}")).unwrap();
    while Client::connect(options.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (Serving::Apache(child), port)
}

/// Runs a test within its deadline.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE, test).await.expect("the test's deadline");
    });
}
