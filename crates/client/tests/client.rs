//! The client against a node of ours, in this process, over real sockets.
#![allow(missing_docs)]

#[path = "client/admin.rs"]
mod admin;
#[path = "client/data.rs"]
mod data;
#[path = "client/groups.rs"]
mod groups;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use client::admin::NewTopic;
use client::{Admin, Client, Options};
use server::{Running, Settings, start};

/// No test takes longer; each waits for what it needs, not for a time.
const DEADLINE: Duration = Duration::from_secs(120);

/// A node, and the directory it is on.
pub struct Node {
    running: Running,
    pub port: u16,
    dir: tempfile::TempDir,
}

impl Node {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let running = serve(dir.path().to_owned(), 0).await;
        let port = running.address.port();
        Self { running, port, dir }
    }

    pub async fn stop(self) {
        self.running.stop().await.expect("a clean stop");
    }

    /// Stops, lets `meanwhile` happen, and starts again on the same port and directory.
    pub async fn restart(self, meanwhile: impl Future<Output = ()>) -> Self {
        let Self { running, port, dir } = self;
        running.stop().await.expect("a clean stop");
        meanwhile.await;
        let running = serve(dir.path().to_owned(), port).await;
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

async fn serve(dir: PathBuf, port: u16) -> Running {
    let settings = Settings::alone(dir, port, false);
    start(settings).await.unwrap_or_else(|error| panic!("{error}"))
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
